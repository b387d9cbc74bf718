// Downloads targets with go-tuf at its default settings; the command line is in integration/README.md.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

var (
	metadataURL = flag.String("metadata-url", "", "where timestamp.json and its kind lie")
	targetsURL  = flag.String("targets-url", "", "what target paths are relative to")
	root        = flag.String("root", "", "file with the trusted root")
	dir         = flag.String("dir", "", "metadata cache, kept between runs")
	userAgent   = flag.String("user-agent", "", "sent before the client's own name")
	bare        = flag.Bool("bare", false, "ask for dir/name")
	_           = flag.Bool("hashed", false, "ask for dir/H.name (the client's default)")
)

func main() {
	flag.Parse()
	if *metadataURL == "" || *targetsURL == "" || *root == "" || *dir == "" || flag.NArg()%2 != 0 {
		fmt.Fprintln(os.Stderr, "go-tuf-get: needs --metadata-url, --targets-url, --root, --dir and pairs TARGET OUT")
		os.Exit(2)
	}
	fine := true
	failed := func(target string, err error) {
		fine = false
		fmt.Println("err", target, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	client, err := refreshed()
	for at := 0; at < flag.NArg(); at += 2 {
		target, out := flag.Arg(at), flag.Arg(at+1)
		if err != nil {
			failed(target, err)
		} else if digest, err := download(client, target, out); err != nil {
			failed(target, err)
		} else {
			fmt.Println("ok", target, digest)
		}
	}
	if err != nil && flag.NArg() == 0 {
		failed("-", err)
	}
	if !fine {
		os.Exit(1)
	}
}

func refreshed() (*updater.Updater, error) {
	trusted, err := os.ReadFile(*root)
	if err != nil {
		return nil, err
	}
	settings, err := config.New(*metadataURL, trusted)
	if err != nil {
		return nil, err
	}
	settings.LocalMetadataDir = filepath.Join(*dir, "metadata")
	settings.LocalTargetsDir = filepath.Join(*dir, "targets")
	settings.RemoteTargetsURL = *targetsURL
	settings.PrefixTargetsWithHash = !*bare
	fetch := fetcher.NewDefaultFetcher()
	fetch.SetHTTPUserAgent(strings.TrimSpace(*userAgent + " go-tuf/2.4.2"))
	settings.Fetcher = fetch
	client, err := updater.New(settings)
	if err != nil {
		return nil, err
	}
	return client, client.Refresh()
}

func download(client *updater.Updater, target, out string) (string, error) {
	found, err := client.GetTargetInfo(target)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", err
	}
	_, bytes, err := client.DownloadTarget(found, out, "")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(bytes)), nil
}
