package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	for _, url := range os.Args[1:] {
		response, err := send(url)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		response.Body.Close()
		fmt.Printf("%s\t%d\t%s\n", body, response.StatusCode, response.Proto)
	}
}

func send(url string) (*http.Response, error) {
	name := os.Getenv("BODY_FILE")
	if name == "" {
		return http.Get(url)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return http.Post(url, "application/octet-stream", file)
}
