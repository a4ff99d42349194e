import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.PrintWriter;
import java.util.TreeSet;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;

/**
 * Writes into pairs.json what Java's Avro library (1.12.1) says of each pair; by hand, when pairs are added:
 * java -cp 'avro.jar:jackson-*.jar:slf4j-api.jar' Answers.java pairs.json
 */
public class Answers {
  public static void main(String[] arguments) throws Exception {
    File file = new File(arguments[0]);
    ObjectMapper mapper = new ObjectMapper();
    ArrayNode pairs = (ArrayNode) mapper.readTree(file);
    try (PrintWriter out = new PrintWriter(file, "UTF-8")) {
      for (int at = 0; at < pairs.size(); at++) {
        ObjectNode pair = (ObjectNode) pairs.get(at);
        Schema reader = new Schema.Parser().parse(pair.get("reader").toString());
        Schema writer = new Schema.Parser().parse(pair.get("writer").toString());
        TreeSet<String> found = new TreeSet<>();
        SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getResult().getIncompatibilities()
            .forEach(it -> found.add(it.getType() + " " + it.getLocation()));
        ArrayNode java = pair.putArray("java");
        found.forEach(java::add);
        out.println((at == 0 ? "[ " : ", ") + mapper.writeValueAsString(pair));
      }
      out.println("]");
    }
  }
}
