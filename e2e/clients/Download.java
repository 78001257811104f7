import java.io.IOException;
import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

// Downloads a URL with both of Java's own clients, which ask for the password when they are challenged.
public class Download {
    public static void main(String[] args) throws IOException, InterruptedException {
        URI at = URI.create(args[0]);
        Authenticator user = new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication(args[1], args[2].toCharArray());
            }
        };
        Authenticator.setDefault(user);
        try (var body = at.toURL().openStream()) {
            System.out.println("HttpURLConnection: " + new String(body.readAllBytes()));
        }
        HttpClient client = HttpClient.newBuilder().authenticator(user).build();
        System.out.println("HttpClient: " + client.send(HttpRequest.newBuilder(at).build(), HttpResponse.BodyHandlers.ofString()).body());
    }
}
