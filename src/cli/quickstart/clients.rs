//! The TUF client's half of the round trip: what it downloads, and what it must not get.

use std::sync::Arc;

use super::once::{Artifact, Trip, expect};
use crate::{
    client::{Client, ClientOptions, TargetNaming, Timeouts, Trust},
    clock::SystemClock,
};

/// Every way in which a client asks for a target.
const NAMINGS: [(TargetNaming, &str); 3] = [
    (TargetNaming::Bare, "bare"),
    (TargetNaming::HashedName, "dir/HASH.name"),
    (TargetNaming::HashedFolder, "HASH.dir/name"),
];
impl Trip {
    /// A TUF client; `store` names its folder of trusted metadata.
    fn client(&self, store: &str, naming: TargetNaming) -> Result<Client, String> {
        Client::open(ClientOptions {
            metadata_urls: vec![format!("{}{}", self.gate_url, self.folder.config.gate.metadata_prefix)],
            targets_urls: vec![format!("{}/", self.gate_url)],
            trust: Trust::RootFile(self.folder.root()),
            store: self.scratch.join("clients").join(store),
            naming,
            clock: Arc::new(SystemClock),
            timeouts: Timeouts::default(),
            offline: false,
        })
        .map_err(|error| error.to_string())
    }

    /// Downloads each by each of its names and compares the bytes.
    pub(super) async fn download_all(&self, artifacts: &[Artifact], store: &str) -> Result<(), String> {
        for (naming, shape) in NAMINGS {
            let mut client = self.client(store, naming)?;
            for Artifact { path, bytes } in artifacts {
                let output = self.scratch.join("download");
                // A file that is there already would not be fetched.
                let _ = std::fs::remove_file(&output);
                let downloaded = client.download(path.as_str(), &output, |_, _| {}).await;
                downloaded.map_err(|error| format!("{path} by its {shape} name: {error}"))?;
                let same = std::fs::read(&output).is_ok_and(|got| got == *bytes);
                expect(same, || format!("{path} by its {shape} name has other bytes"))?;
            }
        }
        Ok(())
    }

    /// The metadata still lists it, and no name of it brings a byte of a file.
    pub(super) async fn refused_to_client(&self, artifact: &Artifact) -> Result<(), String> {
        let output = self.scratch.join("refused");
        for (naming, shape) in NAMINGS {
            let mut client = self.client("refused", naming)?;
            let found = client
                .find(artifact.path.as_str())
                .await
                .map_err(|error| error.to_string())?;
            expect(found.is_some(), || format!("{} left the metadata", artifact.path))?;
            let downloaded = client.download(artifact.path.as_str(), &output, |_, _| {}).await;
            let nothing = downloaded.is_err() && !output.exists();
            expect(nothing, || format!("{} came by its {shape} name", artifact.path))?;
        }
        Ok(())
    }
}
