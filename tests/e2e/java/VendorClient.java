import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A client of the vendor's API written from the published rules only, with nothing but the JDK.
 *
 * <p>Usage: {@code java VendorClient.java BASE_URL KEY SECRET TEMPLATE_ID}. Prints one line for each thing it saw, and
 * ends with status 1 at the first answer that is not what the pages promise. Like the vendor's own SDK it takes
 * everything but HTTP 200 for a failure of the transport and waits 15 seconds at most; like clients in the wild it
 * sends numbers as text, and accepts code or status, number or text.
 */
public final class VendorClient {
    private static final Duration PATIENCE = Duration.ofSeconds(15);

    private final HttpClient http =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(PATIENCE).build();
    private final String base;
    private final String key;
    private final String secret;

    private VendorClient(String base, String key, String secret) {
        this.base = base;
        this.key = key;
        this.secret = secret;
    }

    public static void main(String[] args) throws Exception {
        new VendorClient(args[0], args[1], args[2]).story(Long.parseLong(args[3]));
    }

    private void story(long template) throws Exception {
        check("published signature", "05d7a50893e22a5c4bb3216ae3396c7c", sign("bDqJFiq9", "7bz1lzh9", "1630468800"));

        // Create: one number is busy, one answers; a recall of the failed in an hour.
        long task = number(post("/voice/group/call/send/agent", "{\"appId\":\"default\",\"taskName\":\"java\",\"agentId\":\""
                + template + "\",\"maxCalls\":\"300\",\"numberInfoList\":[{\"calleeNumber\":\"4915112345660\",\"text1\":\"J\u00fcrgen\"},"
                + "{\"calleeNumber\":4915112345600}],\"recallFlow\":{\"recallType\":1,\"recallInterval\":\"60\",\"recallNum\":1}}"));
        say("created", task);
        refused("the same name again", -20, "/voice/group/call/send/agent",
                "{\"appId\":\"default\",\"taskName\":\"java\",\"agentId\":" + template
                + ",\"numberInfoList\":[{\"calleeNumber\":\"4915112345600\"}]}");

        Map<String, Object> listed = finished(task);
        say("finished", listed.get("success") + " answered, " + listed.get("fail") + " failed");

        // The key of the flow is in the page, found by the parent's id.
        Map<String, Object> flow = only(post("/v3/voice/recallFlow/queryPage", page("\"taskName\":\"" + task + "\"")));
        long flowKey = number(flow.get("keyId"));
        check("flow's parent", task, number(flow.get("taskId")));
        say("flow", "recallNum " + flow.get("recallNum") + ", finishNum " + flow.get("finishNum"));
        check("rounds", 1L, (long) nodes(flowKey).size());

        check("update", null, post("/voice/recallFlow/update", "{\"keyId\":\"" + flowKey
                + "\",\"recallInterval\":\"120\",\"recallNum\":\"2\",\"recallType\":\"0\",\"nodeList\":[{\"scriptId\":\"" + template + "\"}]}"));
        List<Object> nodes = nodes(flowKey);
        check("rounds after update", 2L, (long) nodes.size());
        long last = number(object(nodes.get(1)).get("keyId"));
        check("cancel of the last round", null, post("/voice/recallFlow/cancel", "{\"type\":3,\"id\":" + last + "}"));
        check("its status", 3L, number(object(nodes(flowKey).get(1)).get("nodeStatus")));
        check("cancel of the flow", null, post("/voice/recallFlow/cancel", "{\"type\":\"1\",\"id\":\"" + flowKey + "\"}"));
        refused("a second time", -22, "/voice/recallFlow/cancel", "{\"type\":1,\"id\":" + flowKey + "}");

        // The manual twin: the failed number once more.
        long again = number(post("/voice/group/call/resend/ai", "{\"keyId\":\"" + task
                + "\",\"taskName\":\"java again\",\"resendType\":\"1\",\"scriptId\":\"" + template + "\",\"sendTime\":\"2099-01-01 00:00:00\"}"));
        Map<String, Object> detail = object(get("/v3/voice/group/call/detail/" + again));
        check("numbers called again", 1L, number(detail.get("numCnt")));
        check("waiting", 0L, number(detail.get("status")));
        check("cancel of the task", null, post("/voice/group/call/cancel", "{\"taskIdList\":[\"" + again + "\"]}"));
        check("cancelled", 4L, number(object(get("/voice/group/call/detail/" + again)).get("status")));

        refused("a wrong signature", -1, send("/voice/recallFlow/queryDetail", "{\"keyId\":1}", secret + "x", 0));
        refused("an old timestamp", -16, send("/voice/recallFlow/queryDetail", "{\"keyId\":1}", secret, -864_000));
        System.out.println("done");
    }

    /** The task's record, once all its numbers were called. */
    private Map<String, Object> finished(long task) throws Exception {
        for (int asked = 0; asked < 240; asked++) {
            Object data = post("/voice/group/call/query", page("\"taskType\":\"3\",\"statusList\":[]"));
            for (Object record : list(object(data).get("records"))) {
                Map<String, Object> one = object(record);
                if (number(one.get("taskId")) == task && number(one.get("status")) == 2) {
                    return one;
                }
            }
            Thread.sleep(250);
        }
        throw new IllegalStateException("the task did not finish");
    }

    private List<Object> nodes(long flowKey) throws Exception {
        Map<String, Object> detail = object(post("/voice/recallFlow/queryDetail", "{\"keyId\":\"" + flowKey + "\"}"));
        check("detail's key", flowKey, number(detail.get("keyId")));
        return list(detail.get("nodeList"));
    }

    private static String page(String more) {
        return "{\"current\":\"1\",\"size\":\"100\",\"params\":{\"strTime\":\"2020-01-01 00:00:00\","
                + "\"endTime\":\"2099-01-01 00:00:00\"," + more + "}}";
    }

    private Object post(String path, String body) throws Exception {
        return data(send(path, body, secret, 0));
    }

    private Object get(String path) throws Exception {
        return data(send(path, null, secret, 0));
    }

    private static Object data(Map<String, Object> answer) {
        check("code", 0L, code(answer));
        return answer.get("data");
    }

    private void refused(String what, long expected, String path, String body) throws Exception {
        refused(what, expected, send(path, body, secret, 0));
    }

    private static void refused(String what, long expected, Map<String, Object> answer) {
        check(what, expected, code(answer));
        String text = String.valueOf(answer.containsKey("msg") ? answer.get("msg") : answer.get("reason"));
        say("refused", what + ": " + code(answer) + " " + text);
    }

    /** {@code code} or {@code status}, a number or a text. */
    private static long code(Map<String, Object> answer) {
        return number(answer.containsKey("code") ? answer.get("code") : answer.get("status"));
    }

    private Map<String, Object> send(String path, String body, String signedWith, long lateSeconds) throws Exception {
        String stamp = String.valueOf(Instant.now().getEpochSecond() + lateSeconds);
        // The names of headers in lower case, as HTTP/2 stacks send them.
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + path))
                .timeout(PATIENCE)
                .header("content-type", "application/json;charset=utf-8")
                .header("api-key", key)
                .header("timestamp", stamp)
                .header("sign", sign(key, signedWith, stamp))
                .header("origin", "java-sdk");
        if (body != null) {
            request.POST(HttpRequest.BodyPublishers.ofString(body, StandardCharsets.UTF_8));
        }
        HttpResponse<String> response =
                http.send(request.build(), HttpResponse.BodyHandlers.ofString(StandardCharsets.UTF_8));
        check("HTTP status of " + path, 200, response.statusCode());
        return object(new Json(response.body()).whole());
    }

    private static String sign(String key, String secret, String stamp) throws Exception {
        byte[] digest = MessageDigest.getInstance("MD5").digest((key + secret + stamp).getBytes(StandardCharsets.UTF_8));
        StringBuilder hex = new StringBuilder();
        for (byte one : digest) {
            hex.append(String.format("%02x", one));
        }
        return hex.toString();
    }

    private static void say(String what, Object value) {
        System.out.println(what + ": " + value);
    }

    private static void check(String what, Object expected, Object found) {
        if (expected == null ? found != null : !expected.equals(found)) {
            throw new IllegalStateException(what + ": expected " + expected + ", got " + found);
        }
    }

    private static long number(Object value) {
        return Long.parseLong(String.valueOf(value));
    }

    private static Map<String, Object> only(Object data) {
        List<Object> records = list(object(data).get("records"));
        check("records", 1, records.size());
        return object(records.get(0));
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> object(Object value) {
        return (Map<String, Object>) value;
    }

    @SuppressWarnings("unchecked")
    private static List<Object> list(Object value) {
        return (List<Object>) value;
    }

    /** As much of a JSON reader as the answers need: whole numbers come back as Long. */
    private static final class Json {
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        Object whole() {
            Object found = value();
            blanks();
            check("end of the JSON", text.length(), at);
            return found;
        }

        private Object value() {
            blanks();
            switch (text.charAt(at)) {
                case '{':
                    return members();
                case '[':
                    return items();
                case '"':
                    return string();
                default:
                    return word();
            }
        }

        private Map<String, Object> members() {
            Map<String, Object> found = new LinkedHashMap<>();
            at++;
            while (!closes('}')) {
                blanks();
                String name = string();
                expect(':');
                found.put(name, value());
            }
            return found;
        }

        private List<Object> items() {
            List<Object> found = new ArrayList<>();
            at++;
            while (!closes(']')) {
                found.add(value());
            }
            return found;
        }

        /** Whether the closing character is next; steps over a comma. */
        private boolean closes(char closing) {
            blanks();
            if (text.charAt(at) == closing) {
                at++;
                return true;
            }
            if (text.charAt(at) == ',') {
                at++;
            }
            return false;
        }

        private String string() {
            expect('"');
            StringBuilder found = new StringBuilder();
            while (text.charAt(at) != '"') {
                char next = text.charAt(at++);
                if (next == '\\') {
                    next = escaped();
                }
                found.append(next);
            }
            at++;
            return found.toString();
        }

        private char escaped() {
            char kind = text.charAt(at++);
            switch (kind) {
                case 'n':
                    return '\n';
                case 't':
                    return '\t';
                case 'r':
                    return '\r';
                case 'b':
                    return '\b';
                case 'f':
                    return '\f';
                case 'u':
                    at += 4;
                    return (char) Integer.parseInt(text.substring(at - 4, at), 16);
                default:
                    return kind;
            }
        }

        private Object word() {
            int start = at;
            while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) {
                at++;
            }
            String found = text.substring(start, at);
            switch (found) {
                case "null":
                    return null;
                case "true":
                    return true;
                case "false":
                    return false;
                default:
                    if (found.matches("-?\\d+")) {
                        return Long.parseLong(found);
                    }
                    return Double.parseDouble(found);
            }
        }

        private void expect(char wanted) {
            blanks();
            check("JSON at " + at, wanted, text.charAt(at));
            at++;
        }

        private void blanks() {
            while (at < text.length() && Character.isWhitespace(text.charAt(at))) {
                at++;
            }
        }
    }
}
