//! What each attacker of the README's security section can and cannot do, tried with every client: a proxy node in
//! somebody's hands, a thief of online keys, a minority of the root keys.

use std::{fs, path::Path};

use ed25519_dalek::SigningKey;
use serde_json::json;
use tempfile::TempDir;
use tufgate::{
    Digest, TargetPath,
    internals::ledger::{Act, Ledger as _, Observation, Provenance, sqlite::SqliteLedger},
};

use crate::support::{
    ceremony::said,
    clients::{Client, Place},
    gate::{Gate, Setup, tufgate, until},
    nginx::Nginx,
    repository::{Repository, listing, names_of, public},
    site::{Reply, Site},
};

const GOOD: (&str, &[u8]) = ("app/good.txt", b"what was published");
const EVIL: &[u8] = b"what was never published";

/// Six clients, each with what it trusts.
struct Victims {
    dir: TempDir,
    root: std::path::PathBuf,
}

impl Victims {
    fn new(gate: &Gate) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            root: gate.root(),
        }
    }

    /// What each client got of a target: the digest of the bytes it verified and wrote, or why there are none.
    fn get(&self, url: &str, target: &str) -> Vec<(&'static str, Result<String, String>)> {
        let out = |name: &str| self.dir.path().join(format!("{name}-out"));
        let mut got = Vec::new();
        for client in Client::ALL {
            let place = Place {
                gate: url.to_owned(),
                root: self.root.clone(),
                dir: self.dir.path().join(client.name()),
                user_agent: "victim".to_owned(),
            };
            fs::create_dir_all(&place.dir).unwrap();
            let said = client.get(&place, &[(target, &out(client.name()))]).remove(0);
            got.push((client.name(), said.result));
        }
        let (store, out) = (self.dir.path().join("store"), out("tufgate"));
        let _ = fs::remove_file(&out);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let output = tufgate(
            self.dir.path(),
            &[
                "get",
                "--root",
                &text(&self.root),
                "--url",
                url,
                "--store",
                &text(&store),
                "-o",
                &text(&out),
                "--retries",
                "0",
                "--",
                target,
            ],
        );
        got.push(match output.status.success() {
            true => ("tufgate get", Ok(Digest::of(fs::read(&out).unwrap()).to_string())),
            false => ("tufgate get", Err(said(&output))),
        });
        got
    }

    /// Fails unless everybody gets these bytes.
    #[track_caller]
    fn all_get(&self, url: &str, target: &str, bytes: &[u8]) {
        let digest = Digest::of(bytes).to_string();
        for (client, got) in self.get(url, target) {
            assert_eq!(got.as_ref(), Ok(&digest), "{client}");
        }
    }

    /// Fails if anybody gets anything.
    #[track_caller]
    fn nobody_gets(&self, what: &str, url: &str, target: &str) {
        for (client, got) in self.get(url, target) {
            assert!(got.is_err(), "{client}, {what}: {got:?}");
        }
    }
}

fn gate(nginx: &Nginx, extra: &str) -> Gate {
    let gate = Gate::start(&Setup::learning(nginx.url()).extra(extra));
    gate.publish(&format!("/{}", GOOD.0), GOOD.1);
    gate
}

fn serve(repository: &Repository) -> Site {
    let site = Site::start();
    site.serve(repository.table.clone(), None);
    site
}

#[test]
fn a_proxy_node_serves_what_it_likes_and_signs_nothing() {
    let nginx = Nginx::start();
    let gate = gate(&nginx, "");
    let honest = Repository::copy(&gate, &[GOOD]);

    // Other bytes for a signed target: whoever does not verify gets them, whoever does gets nothing.
    let mut node = honest.clone();
    for name in names_of(GOOD.0, GOOD.1) {
        node.table.insert(name, Reply::of(EVIL));
    }
    let site = serve(&node);
    assert_eq!(crate::support::http::get(site.addr, &format!("/{}", GOOD.0)).body, EVIL);
    Victims::new(&gate).nobody_gets("other bytes", &site.url(), GOOD.0);

    // Metadata that it writes itself, by keys of its own: it has no others.
    let mut node = honest.clone();
    let (bin, _) = node.full_bin();
    let file = node.file(&bin);
    let mut signed = node.signed(&file);
    signed["targets"][GOOD.0] = listing(EVIL);
    let own = node.add_key(SigningKey::from_bytes(&[66; 32]));
    node.write(&file, &signed, &[own]);
    node.put_target(GOOD.0, EVIL);
    Victims::new(&gate).nobody_gets("metadata of its own", &serve(&node).url(), GOOD.0);

    // Refusing is all that is left to it, and what was served before: clients do not go back.
    gate.publish("/app/later.txt", b"later");
    let victims = Victims::new(&gate);
    victims.all_get(&gate.url(), "app/later.txt", b"later");
    let old = victims.get(&serve(&honest).url(), "app/later.txt");
    assert!(old.iter().all(|(_, got)| got.is_err()), "{old:?}");

    // The ledger it shares with the signer: what is recorded stays, new names are its to invent.
    let ledger = SqliteLedger::open(&gate.dir.join("ledger.db")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for path in [GOOD.0, "app/invented.txt"] {
        let observation = Observation {
            seq: 0,
            path: TargetPath::new(path).unwrap(),
            act: Act::Record {
                digest: Digest::of(EVIL),
                length: EVIL.len() as u64,
                provenance: Provenance::Published,
            },
            who: "client 127.0.0.1".to_owned(),
            at: jiff::Timestamp::now(),
        };
        runtime.block_on(ledger.observe(observation)).unwrap();
    }
    gate.publish("/app/last.txt", b"last");
    until("all to be settled", || gate.status()["pending"] == 0);
    Victims::new(&gate).all_get(&gate.url(), GOOD.0, GOOD.1);
    fs::write(nginx.file("app/invented.txt"), EVIL).unwrap();
    Victims::new(&gate).all_get(&gate.url(), "app/invented.txt", EVIL);
}

#[test]
fn a_thief_of_online_keys_signs_bins_and_neither_root_nor_offline_targets() {
    let nginx = Nginx::start();
    let gate = gate(&nginx, "[keys.targets]\noffline = true\n");
    // Everything that is online, and nothing else.
    let mut thief = Repository::copy(&gate, &[GOOD]);
    let offline: Vec<String> = {
        let root = thief.signed("1.root.json");
        let ids = |role: &str| root["roles"][role]["keyids"].as_array().unwrap().clone();
        [ids("root"), ids("targets")]
            .concat()
            .iter()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect()
    };
    thief.forget_keys(&offline);
    let stolen = thief.clone();

    // With the keys of bins, snapshot and timestamp it lists what it likes, until root revokes them.
    let (bin, _) = thief.full_bin();
    let file = thief.file(&bin);
    thief.edit(&file, |signed| signed["targets"][GOOD.0] = listing(EVIL));
    thief.put_target(GOOD.0, EVIL);
    Victims::new(&gate).all_get(&serve(&thief).url(), GOOD.0, EVIL);

    // It cannot change targets.json, which says whose the bins are: nobody takes it with its signature.
    let mut thief = stolen.clone();
    let own = thief.add_key(SigningKey::from_bytes(&[66; 32]));
    let file = thief.file("targets");
    let mut signed = thief.signed(&file);
    signed["targets"][GOOD.0] = listing(EVIL);
    thief.write(&file, &signed, std::slice::from_ref(&own));
    thief.publish();
    thief.put_target(GOOD.0, EVIL);
    Victims::new(&gate).nobody_gets("targets.json by another key", &serve(&thief).url(), GOOD.0);

    // Nor root: one that lists its own key for everything is refused, or is not there for those who take no such root.
    let mut thief = stolen;
    let key = SigningKey::from_bytes(&[66; 32]);
    let own = thief.add_key(key.clone());
    thief.next_root(|root| {
        root["keys"][&own] = public(&key);
        for role in ["root", "timestamp", "snapshot", "targets"] {
            root["roles"][role] = json!({"keyids": [own], "threshold": 1});
        }
    });
    Victims::new(&gate).nobody_gets("a root by its own key", &serve(&thief).url(), GOOD.0);
}

#[test]
fn a_thief_of_the_timestamp_key_alone_adds_nothing() {
    let nginx = Nginx::start();
    let gate = gate(&nginx, "");
    let mut thief = Repository::copy(&gate, &[GOOD]);
    let own = thief.add_key(SigningKey::from_bytes(&[66; 32]));
    let (bin, _) = thief.full_bin();
    let bin = thief.file(&bin);
    let mut signed = thief.signed(&bin);
    signed["targets"]["app/evil.txt"] = listing(EVIL);
    thief.write(&bin, &signed, std::slice::from_ref(&own));
    let snapshot = thief.file("snapshot");
    let signed = thief.signed(&snapshot);
    thief.write(&snapshot, &signed, &[own]);
    let bytes = thief.bytes(&snapshot);
    thief.edit("timestamp.json", |signed| {
        signed["meta"]["snapshot.json"]["length"] = bytes.len().into();
        signed["meta"]["snapshot.json"]["hashes"] = json!({"sha256": Digest::of(&bytes)});
    });
    Victims::new(&gate).nobody_gets("a snapshot by another key", &serve(&thief).url(), GOOD.0);
}

#[test]
fn a_minority_of_root_keys_makes_no_root() {
    let nginx = Nginx::start();
    let gate = gate(&nginx, "");
    let keys: Vec<_> = (1..=3).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
    // The root that is trusted has three keys, and two must sign.
    let mut whole = Repository::copy(&gate, &[GOOD]);
    let ids: Vec<String> = keys.iter().map(|key| whole.add_key(key.clone())).collect();
    let two_of_three = |root: &mut serde_json::Value| {
        for (id, key) in ids.iter().zip(&keys) {
            root["keys"][id] = public(key);
        }
        root["roles"]["root"] = json!({"keyids": ids, "threshold": 2});
    };
    whole.next_root(two_of_three);
    let victims = Victims::new(&gate);
    victims.all_get(&serve(&whole).url(), GOOD.0, GOOD.1);

    // One of them is stolen.
    let mut minority = whole.clone();
    minority.forget_keys(&ids[1..]);
    let own = minority.add_key(SigningKey::from_bytes(&[66; 32]));
    minority.next_root(|root| {
        root["keys"][&own] = public(&SigningKey::from_bytes(&[66; 32]));
        root["roles"]["timestamp"] = json!({"keyids": [own], "threshold": 1});
    });
    victims.nobody_gets("a root by one of two", &serve(&minority).url(), GOOD.0);
    // The other two go on without it.
    let mut majority = whole;
    majority.forget_keys(&ids[..1]);
    majority.next_root(|root| root["roles"]["root"] = json!({"keyids": &ids[1..], "threshold": 2}));
    victims.all_get(&serve(&majority).url(), GOOD.0, GOOD.1);
}
