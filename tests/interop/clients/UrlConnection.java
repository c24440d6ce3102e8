import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.URL;

class UrlConnection {
    public static void main(String[] urls) throws Exception {
        var file = System.getenv("BODY_FILE");
        for (var url : urls) {
            var connection = (HttpURLConnection) new URL(url).openConnection();
            if (file != null) {
                connection.setDoOutput(true);
                connection.setChunkedStreamingMode(0);
                try (var in = new FileInputStream(file); var out = connection.getOutputStream()) {
                    in.transferTo(out);
                }
            }
            try (var in = connection.getInputStream()) {
                System.out.println(new String(in.readAllBytes()) + "\t" + connection.getResponseCode());
            }
        }
    }
}
