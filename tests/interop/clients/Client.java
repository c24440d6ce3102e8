import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.time.Duration;

class Client {
    public static void main(String[] urls) throws Exception {
        var file = System.getenv("BODY_FILE");
        var client = HttpClient.newHttpClient();
        for (var url : urls) {
            var request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(30));
            if (file != null) {
                request.POST(BodyPublishers.ofFile(Path.of(file)));
            }
            var answer = client.send(request.build(), BodyHandlers.ofString());
            System.out.println(answer.body() + "\t" + answer.statusCode() + "\t" + answer.version());
        }
    }
}
