import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** Whether Java's PKIX takes a chain, the leaf first: TRUSTSTORE CHAIN. */
class Judge {
    public static void main(String[] arguments) throws Exception {
        var store = KeyStore.getInstance("PKCS12");
        try (var file = new FileInputStream(arguments[0])) {
            store.load(file, "changeit".toCharArray());
        }
        var managers = TrustManagerFactory.getInstance("PKIX");
        managers.init(store);
        var manager = (X509TrustManager) managers.getTrustManagers()[0];
        X509Certificate[] chain;
        try (var file = new FileInputStream(arguments[1])) {
            var certificates = CertificateFactory.getInstance("X.509").generateCertificates(file);
            chain = certificates.toArray(X509Certificate[]::new);
        }
        manager.checkServerTrusted(chain, "UNKNOWN");
    }
}
