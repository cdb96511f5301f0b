import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Check {
    public static void main(String[] arguments) {
        System.out.println("Java " + Runtime.version());
        try {
            var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
            HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.discarding());
        } catch (Exception error) {
            System.err.println(error);
            System.exit(1);
        }
        System.exit(0);
    }
}
