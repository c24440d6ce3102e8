// Whether Go takes a chain, the leaf first, for a host: judge ROOTS CHAIN HOST.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"log"
	"os"
)

func certificates(path string) []*x509.Certificate {
	rest, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			log.Fatal(err)
		}
		found = append(found, certificate)
	}
}

func main() {
	roots, above := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range certificates(os.Args[1]) {
		roots.AddCert(root)
	}
	chain := certificates(os.Args[2])
	for _, certificate := range chain[1:] {
		above.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName:       os.Args[3],
		Roots:         roots,
		Intermediates: above,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		log.Fatal(err)
	}
}
