// Downloads targets with sigstore-java's TUF client; the command line is in integration/README.md.

import dev.sigstore.tuf.FileSystemTufStore;
import dev.sigstore.tuf.HttpFetcher;
import dev.sigstore.tuf.MetaFetcher;
import dev.sigstore.tuf.PassthroughCacheMetaStore;
import dev.sigstore.tuf.RootProvider;
import dev.sigstore.tuf.TrustedMetaStore;
import dev.sigstore.tuf.Updater;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

public final class Get {
  public static void main(String[] words) throws Exception {
    Map<String, String> values = new HashMap<>();
    List<String> pairs = new ArrayList<>();
    for (int at = 0; at < words.length; at++) {
      switch (words[at]) {
        case "--metadata-url", "--targets-url", "--root", "--dir", "--user-agent" ->
            values.put(words[at], words[++at]);
        case "--hashed", "--" -> {}
        default -> pairs.add(words[at]);
      }
    }
    for (String name : List.of("--metadata-url", "--targets-url", "--root", "--dir")) {
      if (!values.containsKey(name)) {
        usage(name + " is missing");
      }
    }
    if (pairs.size() % 2 != 0) {
      usage("targets come in pairs: TARGET OUT");
    }
    boolean fine = true;
    Path targets = Files.createDirectories(Path.of(values.get("--dir"), "targets"));
    var store = FileSystemTufStore.newFileSystemStore(Path.of(values.get("--dir")), targets);
    Updater updater = null;
    Exception failed = null;
    try {
      updater = refreshed(values, store);
    } catch (Exception error) {
      failed = error;
    }
    for (int at = 0; at < pairs.size(); at += 2) {
      String target = pairs.get(at);
      try {
        if (failed != null) {
          throw failed;
        }
        System.out.println("ok " + target + " " + download(updater, store, target, Path.of(pairs.get(at + 1))));
      } catch (Exception error) {
        fine = false;
        System.out.println("err " + target + " " + String.valueOf(error).replace('\n', ' '));
      }
    }
    System.exit(fine ? 0 : 1);
  }

  private static Updater refreshed(Map<String, String> values, FileSystemTufStore store) throws Exception {
    var updater =
        Updater.builder()
            .setTrustedMetaStore(
                TrustedMetaStore.newTrustedMetaStore(PassthroughCacheMetaStore.newPassthroughMetaCache(store)))
            .setTrustedRootPath(RootProvider.fromFile(Path.of(values.get("--root"))))
            .setMetaFetcher(
                MetaFetcher.newFetcher(HttpFetcher.newFetcher(URI.create(values.get("--metadata-url")))))
            .setTargetFetcher(HttpFetcher.newFetcher(URI.create(values.get("--targets-url"))))
            .setTargetStore(store)
            .build();
    updater.updateMeta();
    return updater;
  }

  private static String download(Updater updater, FileSystemTufStore store, String target, Path out)
      throws Exception {
    updater.downloadTarget(target);
    byte[] bytes = store.readTarget(target);
    Files.write(out, bytes);
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
  }

  private static void usage(String message) {
    System.err.println("sigstore-java: " + message);
    System.exit(2);
  }
}
