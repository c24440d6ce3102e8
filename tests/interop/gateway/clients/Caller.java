import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/** Asks for each URL. KEY goes into `Authorization`; PROXY_KEY is the password for a proxy that asks for one. */
class Caller {
    public static void main(String[] urls) throws Exception {
        var key = System.getenv("KEY");
        var proxyKey = System.getenv("PROXY_KEY");
        var builder = HttpClient.newBuilder();
        if (proxyKey != null) {
            builder.authenticator(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication("any", proxyKey.toCharArray());
                }
            });
        }
        var client = builder.build();
        for (var url : urls) {
            var request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(30));
            if (key != null) {
                request.header("Authorization", "Bearer " + key);
            }
            var answer = client.send(request.build(), BodyHandlers.ofString());
            System.out.println(answer.body() + "\t" + answer.statusCode());
        }
    }
}
