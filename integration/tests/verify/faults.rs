//! What can be wrong with a repository, how to plant it, and the code that tells of it.

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use tufgate::internals::{digest::Digest, inspect::Code, tuf::canonical};

use crate::support::{
    repository::{Repository, listing, names_of, public},
    site::Reply,
};

/// Something wrong with a repository.
pub struct Fault {
    /// In words.
    pub name: &'static str,
    /// The code that tells of it.
    pub code: Code,
    /// What the place must hold.
    pub place: &'static str,
    /// Plants it.
    pub plant: fn(&mut Repository),
}

/// The table's lines.
fn fault(name: &'static str, code: Code, place: &'static str, plant: fn(&mut Repository)) -> Fault {
    Fault {
        name,
        code,
        place,
        plant,
    }
}

const PAST: &str = "2020-01-01T00:00:00Z";

fn file_of(copy: &Repository, role: &str) -> String {
    copy.file(role)
}

fn edit_role(copy: &mut Repository, role: &str, change: impl FnOnce(&mut Value)) {
    let file = file_of(copy, role);
    copy.edit(&file, change);
    if role != "timestamp" {
        copy.publish();
    }
}

/// Replaces the first hex digit of the first signature.
fn flip(copy: &mut Repository, role: &str) {
    let file = file_of(copy, role);
    copy.edit_file(&file, |file| {
        let sig = file["signatures"][0]["sig"].as_str().unwrap();
        let other = if sig.starts_with('0') { "1" } else { "0" };
        file["signatures"][0]["sig"] = format!("{other}{}", &sig[1..]).into();
    });
}

fn new_key() -> SigningKey {
    SigningKey::from_bytes(&[77; 32])
}

/// Lists a key under an id beside the timestamp's.
fn second_timestamp_key(copy: &mut Repository, id: &str, key: Value) {
    copy.next_root(|root| {
        root["keys"][id] = key;
        root["roles"]["timestamp"]["keyids"]
            .as_array_mut()
            .unwrap()
            .push(id.into());
    });
}

/// A role `extra` for `extra/*` that lists these, with bytes of one letter.
fn extra_targets(copy: &mut Repository, names: &[&str]) {
    let bytes = b"x";
    let targets: serde_json::Map<_, _> = names.iter().map(|name| ((*name).to_owned(), listing(bytes))).collect();
    copy.add_role("extra", targets.into(), Value::Null);
    copy.delegate("extra", "extra/*");
    for name in names {
        copy.put_target(name, bytes);
        let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::CONTROLS).to_string();
        let encoded = encoded.replace(' ', "%20");
        for path in names_of(&encoded, bytes) {
            copy.table.insert(path, Reply::of(bytes));
        }
    }
}

/// A text replacement in the raw file, where JSON values cannot say it; the signature is made for what is left.
fn raw(copy: &mut Repository, role: &str, from: &str, to: &str) {
    let file = file_of(copy, role);
    let text = String::from_utf8(copy.bytes(&file)).unwrap();
    assert!(text.contains(from), "{text}");
    copy.put(&file, text.replacen(from, to, 1));
}

/// Every fault.
pub fn faults() -> Vec<Fault> {
    use Code::*;
    vec![
        fault(
            "timestamp: a flipped signature",
            SignatureThreshold,
            "timestamp.json",
            |copy| {
                flip(copy, "timestamp");
            },
        ),
        fault(
            "snapshot: a flipped signature",
            SignatureThreshold,
            "snapshot.json",
            |copy| {
                flip(copy, "snapshot");
                let bytes = copy.bytes(&copy.file("snapshot"));
                copy.edit("timestamp.json", |signed| {
                    let version = signed["meta"]["snapshot.json"]["version"].clone();
                    signed["meta"]["snapshot.json"] = listing(&bytes);
                    signed["meta"]["snapshot.json"]["version"] = version;
                });
            },
        ),
        fault(
            "targets: a flipped signature",
            SignatureThreshold,
            "targets.json",
            |copy| {
                flip(copy, "targets");
                copy.publish();
            },
        ),
        fault("a bin: a flipped signature", SignatureThreshold, ".bins4-", |copy| {
            flip(copy, &copy.full_bin().0);
        }),
        fault(
            "the delegator: a flipped signature",
            SignatureThreshold,
            ".bins.json",
            |copy| flip(copy, "bins"),
        ),
        fault(
            "an invalid signature beside enough good ones",
            SignatureInvalid,
            "timestamp.json",
            |copy| {
                let id = copy.add_key(new_key());
                second_timestamp_key(copy, &id, public(&new_key()));
                copy.edit_file("timestamp.json", |file| {
                    let line = json!({"keyid": id, "sig": "00".repeat(64)});
                    file["signatures"].as_array_mut().unwrap().push(line);
                });
            },
        ),
        fault(
            "a signature by a stranger",
            SignatureUnknownKey,
            "timestamp.json",
            |copy| {
                let id = copy.add_key(new_key());
                let line = copy.signature(&copy.signed("timestamp.json"), &id);
                copy.edit_file("timestamp.json", |file| {
                    file["signatures"].as_array_mut().unwrap().push(line)
                });
            },
        ),
        fault("one key id signs twice", SignatureDuplicate, "timestamp.json", |copy| {
            copy.edit_file("timestamp.json", |file| {
                let line = file["signatures"][0].clone();
                file["signatures"].as_array_mut().unwrap().push(line);
            });
        }),
        fault("the root has expired", Expired, "2.root.json", |copy| {
            copy.next_root(|root| root["expires"] = PAST.into());
        }),
        fault("the timestamp has expired", Expired, "timestamp.json", |copy| {
            edit_role(copy, "timestamp", |signed| signed["expires"] = PAST.into());
        }),
        fault("the snapshot has expired", Expired, "snapshot.json", |copy| {
            edit_role(copy, "snapshot", |signed| signed["expires"] = PAST.into());
        }),
        fault("targets has expired", Expired, "targets.json", |copy| {
            edit_role(copy, "targets", |signed| signed["expires"] = PAST.into());
        }),
        fault("a bin has expired", Expired, ".bins4-", |copy| {
            let bin = copy.full_bin().0;
            edit_role(copy, &bin, |signed| signed["expires"] = PAST.into());
        }),
        fault(
            "the timestamp expires in a minute",
            ExpiresSoon,
            "timestamp.json",
            |copy| {
                let soon = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 60).unwrap();
                edit_role(copy, "timestamp", |signed| signed["expires"] = soon.to_string().into());
            },
        ),
        fault(
            "the timestamp is good for years",
            ExpiresFar,
            "timestamp.json",
            |copy| {
                edit_role(copy, "timestamp", |signed| {
                    signed["expires"] = "2040-01-01T00:00:00Z".into()
                });
            },
        ),
        fault("a bin is gone", FileMissing, ".bins4-", |copy| {
            copy.remove(&copy.file(&copy.full_bin().0))
        }),
        fault("the snapshot is gone", FileMissing, "snapshot.json", |copy| {
            copy.remove(&copy.file("snapshot"))
        }),
        fault("a bin is answered with 500", Unreachable, ".bins4-", |copy| {
            copy.answer(&copy.file(&copy.full_bin().0), |_| Reply::status(500));
        }),
        fault("the timestamp is a redirect", Redirected, "timestamp.json", |copy| {
            copy.answer("timestamp.json", |_| {
                Reply::status(302).header("Location", "/elsewhere")
            });
        }),
        fault(
            "the timestamp lists another length",
            LengthMismatch,
            "snapshot.json",
            |copy| {
                edit_role(copy, "timestamp", |signed| {
                    signed["meta"]["snapshot.json"]["length"] = 7.into()
                });
            },
        ),
        fault(
            "the timestamp lists another hash",
            HashMismatch,
            "snapshot.json",
            |copy| {
                let other = Digest::of("other").to_string();
                edit_role(copy, "timestamp", |signed| {
                    signed["meta"]["snapshot.json"]["hashes"]["sha256"] = other.into();
                });
            },
        ),
        fault(
            "the snapshot is of another version than listed",
            VersionMismatch,
            "snapshot.json",
            |copy| {
                edit_role(copy, "snapshot", |signed| signed["version"] = 1.into());
            },
        ),
        fault(
            "a bin is of another version than listed",
            VersionMismatch,
            ".bins4-",
            |copy| {
                let bin = copy.full_bin().0;
                edit_role(copy, &bin, |signed| signed["version"] = 1_000.into());
            },
        ),
        fault(
            "the timestamp names an older snapshot again",
            SnapshotAhead,
            "snapshot.json",
            |copy| {
                let before = copy.signed("timestamp.json")["meta"]["snapshot.json"]["version"]
                    .as_u64()
                    .unwrap()
                    - 1;
                let bytes = copy.bytes(&format!("{before}.snapshot.json"));
                edit_role(copy, "timestamp", |signed| {
                    signed["version"] = (signed["version"].as_u64().unwrap() + 1).into();
                    signed["meta"]["snapshot.json"] = listing(&bytes);
                    signed["meta"]["snapshot.json"]["version"] = before.into();
                });
            },
        ),
        fault(
            "the timestamp lists no snapshot",
            ListingInvalid,
            "timestamp.json",
            |copy| {
                edit_role(copy, "timestamp", |signed| signed["meta"] = json!({}));
            },
        ),
        fault("a target stands in the wrong bin", TargetMisplaced, "target ", |copy| {
            let ((full, path), empty) = (copy.full_bin(), copy.empty_bin());
            let mut said = Value::Null;
            edit_role(copy, &full, |signed| {
                said = signed["targets"].as_object_mut().unwrap().remove(&path).unwrap();
            });
            edit_role(copy, &empty, |signed| signed["targets"][&path] = said);
        }),
        fault(
            "a target stands outside its role's paths",
            TargetMisplaced,
            "target elsewhere/x",
            |copy| {
                extra_targets(copy, &["elsewhere/x"]);
            },
        ),
        fault("a target is gone", TargetMissing, "target a/one.txt", |copy| {
            for name in names_of("a/one.txt", b"one") {
                copy.table.remove(&name);
            }
        }),
        fault("a target has other bytes", TargetChanged, "target a/one.txt", |copy| {
            for name in names_of("a/one.txt", b"one") {
                copy.table.insert(name, Reply::of("two"));
            }
        }),
        fault(
            "a target has other bytes under its bare name only",
            TargetChanged,
            "target a/one.txt",
            |copy| {
                copy.table.insert("/a/one.txt".to_owned(), Reply::of("two"));
            },
        ),
        fault("a target is redirected", Redirected, "target a/one.txt", |copy| {
            copy.table.insert("/elsewhere".to_owned(), Reply::of("one"));
            for name in names_of("a/one.txt", b"one") {
                copy.table
                    .insert(name, Reply::status(302).header("Location", "/elsewhere"));
            }
        }),
        fault(
            "a target is longer than listed",
            TargetLength,
            "target a/one.txt",
            |copy| {
                for name in names_of("a/one.txt", b"one") {
                    copy.table.insert(name, Reply::of("one and more"));
                }
            },
        ),
        fault(
            "a target lacks dir/H.name",
            TargetNameMissing,
            "target a/one.txt",
            |copy| {
                copy.table.remove(&names_of("a/one.txt", b"one")[0]);
            },
        ),
        fault(
            "a target lacks H.dir/name",
            TargetNameMissing,
            "target a/one.txt",
            |copy| {
                copy.table.remove(&names_of("a/one.txt", b"one")[1]);
            },
        ),
        fault("a target without sha256", TargetInvalid, "target ", |copy| {
            let (bin, path) = copy.full_bin();
            edit_role(copy, &bin, |signed| {
                signed["targets"][&path]["hashes"] = json!({"md5": "00"})
            });
        }),
        fault("root 2 is missing in the chain", RootMissing, "2.root.json", |copy| {
            copy.next_root(|_| {});
            copy.next_root(|_| {});
            copy.remove("2.root.json");
        }),
        fault("the first root is not kept", RootMissing, "1.root.json", |copy| {
            copy.next_root(|_| {});
            copy.root = copy.bytes("2.root.json");
            copy.remove("1.root.json");
        }),
        fault(
            "the next root is a page with 200",
            RootEndNot404,
            "2.root.json",
            |copy| {
                copy.put("2.root.json", "<html>not found</html>");
                copy.answer("2.root.json", |reply| reply.header("Content-Type", "text/html"));
            },
        ),
        fault(
            "everything unknown is a page with 200",
            RootEndNot404,
            "2.root.json",
            |copy| {
                copy.other = Some(Reply::of("<html>welcome</html>"));
            },
        ),
        fault("the next root is 403", RootEndNot404, "2.root.json", |copy| {
            copy.table
                .insert("/metadata/2.root.json".to_owned(), Reply::status(403));
        }),
        fault("the next root is a redirect", RootEndNot404, "2.root.json", |copy| {
            let reply = Reply::status(302).header("Location", "/login");
            copy.table.insert("/metadata/2.root.json".to_owned(), reply);
        }),
        fault(
            "that there is no next root may be cached",
            RootEndCached,
            "2.root.json",
            |copy| {
                let reply = Reply::status(404).header("Cache-Control", "max-age=86400");
                copy.table.insert("/metadata/2.root.json".to_owned(), reply);
            },
        ),
        fault("the alias is an older root", RootAliasStale, "root.json", |copy| {
            copy.next_root(|_| {});
            let first = copy.bytes("1.root.json");
            copy.put("root.json", first);
        }),
        fault("the alias is another root", RootDiffers, "root.json", |copy| {
            copy.edit("root.json", |root| root["expires"] = "2041-01-01T00:00:00Z".into());
        }),
        fault("another root of the same version", RootDiffers, "1.root.json", |copy| {
            copy.edit("1.root.json", |root| root["expires"] = "2041-01-01T00:00:00Z".into());
        }),
        fault(
            "a root that its forerunner did not sign",
            SignatureThreshold,
            "2.root.json",
            |copy| {
                let id = copy.add_key(new_key());
                copy.next_root(|root| {
                    root["keys"][&id] = public(&new_key());
                    root["roles"]["root"] = json!({"keyids": [id], "threshold": 1});
                });
                let signed = copy.signed("2.root.json");
                copy.write("2.root.json", &signed, &[id]);
                let bytes = copy.bytes("2.root.json");
                copy.put("root.json", bytes);
            },
        ),
        fault(
            "a root that its own keys did not sign",
            SignatureThreshold,
            "2.root.json",
            |copy| {
                let id = copy.add_key(new_key());
                let by = copy.signers("1.root.json");
                copy.next_root(|root| {
                    root["keys"][&id] = public(&new_key());
                    root["roles"]["root"] = json!({"keyids": [id], "threshold": 1});
                });
                let signed = copy.signed("2.root.json");
                copy.write("2.root.json", &signed, &by);
            },
        ),
        fault("a root that skips a version", VersionMismatch, "2.root.json", |copy| {
            copy.next_root(|root| root["version"] = 3.into());
        }),
        fault("a chain of 33 newer roots", RootChainLong, "34.root.json", |copy| {
            for _ in 0..33 {
                copy.next_root(|_| {});
            }
        }),
        fault(
            "a threshold that cannot be met",
            ThresholdImpossible,
            "2.root.json",
            |copy| {
                copy.next_root(|root| root["roles"]["timestamp"]["threshold"] = 2.into());
            },
        ),
        fault("a role lists a key id twice", KeyTwice, "2.root.json", |copy| {
            copy.next_root(|root| {
                let keyids = root["roles"]["timestamp"]["keyids"].as_array_mut().unwrap();
                keyids.push(keyids[0].clone());
            });
        }),
        fault("one key under two ids", KeyTwice, "2.root.json", |copy| {
            let root = copy.signed("1.root.json");
            let id = root["roles"]["timestamp"]["keyids"][0].as_str().unwrap();
            let key = root["keys"][id].clone();
            second_timestamp_key(copy, "another", key);
        }),
        fault(
            "a key id that is not the key's digest",
            KeyidNotComputed,
            "2.root.json",
            |copy| {
                copy.add_key_as("opaque", new_key());
                second_timestamp_key(copy, "opaque", public(&new_key()));
            },
        ),
        fault(
            "a role lists a key that is not there",
            KeyMissing,
            "2.root.json",
            |copy| {
                copy.next_root(|root| {
                    root["roles"]["timestamp"]["keyids"]
                        .as_array_mut()
                        .unwrap()
                        .push("nobody".into());
                });
            },
        ),
        fault("a key that nobody uses", KeyUnused, "2.root.json", |copy| {
            let id = copy.add_key(new_key());
            copy.next_root(|root| root["keys"][id] = public(&new_key()));
        }),
        fault("a key of the future", KeyTypeUnknown, "2.root.json", |copy| {
            let mut key = public(&new_key());
            key["keytype"] = "ml-dsa".into();
            let id = Digest::of(canonical::to_vec(&key).unwrap()).to_string();
            second_timestamp_key(copy, &id, key);
        }),
        fault("a key that is none", KeyInvalid, "2.root.json", |copy| {
            let mut key = public(&new_key());
            key["keyval"]["public"] = "no hex".into();
            let id = Digest::of(canonical::to_vec(&key).unwrap()).to_string();
            second_timestamp_key(copy, &id, key);
        }),
        fault(
            "the succinct view has another key for the bins",
            ViewDiffers,
            "succinct/",
            |copy| {
                let id = copy.add_key(new_key());
                let file = format!("succinct/{}", copy.file("bins"));
                copy.edit(&file, |signed| {
                    signed["delegations"]["keys"] = json!({&id: public(&new_key())});
                    signed["delegations"]["succinct_roles"]["keyids"] = json!([id]);
                });
            },
        ),
        fault(
            "the succinct view has twice as many bins",
            ViewDiffers,
            "succinct/",
            |copy| {
                let file = format!("succinct/{}", copy.file("bins"));
                copy.edit(&file, |signed| {
                    signed["delegations"]["succinct_roles"]["bit_length"] = 5.into()
                });
            },
        ),
        fault(
            "the succinct view has another timestamp",
            ViewDiffers,
            "succinct/timestamp.json",
            |copy| {
                let (mut signed, by) = (copy.signed("timestamp.json"), copy.signers("timestamp.json"));
                signed["version"] = 1_000.into();
                copy.write("succinct/timestamp.json", &signed, &by);
            },
        ),
        fault("the succinct view has another bin", ViewDiffers, "succinct/", |copy| {
            for bin in 0..16 {
                let file = copy.file(&format!("bins4-{bin:x}"));
                let bytes = [copy.bytes(&file), b"\n".to_vec()].concat();
                copy.put(&format!("succinct/{file}"), bytes);
            }
        }),
        fault(
            "two bins are swapped in the first view",
            TargetMisplaced,
            "target ",
            |copy| {
                let ((full, _), empty) = (copy.full_bin(), copy.empty_bin());
                edit_role(copy, "bins", |signed| {
                    for role in signed["delegations"]["roles"].as_array_mut().unwrap() {
                        if role["name"] == *full {
                            role["name"] = empty.clone().into();
                        } else if role["name"] == *empty {
                            role["name"] = full.clone().into();
                        }
                    }
                });
            },
        ),
        fault(
            "a bin is left out of the first view",
            DelegationInvalid,
            ".bins.json",
            |copy| {
                let empty = copy.empty_bin();
                edit_role(copy, "bins", |signed| {
                    signed["delegations"]["roles"]
                        .as_array_mut()
                        .unwrap()
                        .retain(|role| role["name"] != *empty);
                });
            },
        ),
        fault(
            "the timestamp may be cached for an hour",
            CacheTooLong,
            "timestamp.json",
            |copy| {
                copy.answer("timestamp.json", |reply| {
                    reply.header("Cache-Control", "public, max-age=3600")
                });
            },
        ),
        fault(
            "nobody says how long the snapshot may be cached",
            CacheNone,
            ".json",
            |copy| {
                copy.answer(&copy.file("snapshot"), |reply| Reply::of(reply.body));
            },
        ),
        fault(
            "the snapshot comes packed, unasked",
            EncodingUnasked,
            "snapshot.json",
            |copy| {
                copy.answer(&copy.file("snapshot"), |reply| {
                    use std::io::Write as _;
                    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    packer.write_all(&reply.body).unwrap();
                    Reply::of(packer.finish().unwrap()).header("Content-Encoding", "gzip")
                });
            },
        ),
        fault("what is not there is 200", MissingNot404, ".targets.json", |copy| {
            copy.other = Some(Reply::of("{}"));
            copy.table
                .insert("/metadata/2.root.json".to_owned(), Reply::status(404));
        }),
        fault(
            "the snapshot is larger than clients read",
            SizeLimit,
            "snapshot.json",
            |copy| {
                edit_role(copy, "snapshot", |signed| signed["x"] = "y".repeat(1_100_000).into());
            },
        ),
        fault(
            "the timestamp is larger than clients read",
            SizeLimit,
            "timestamp.json",
            |copy| {
                edit_role(copy, "timestamp", |signed| signed["x"] = "y".repeat(20_000).into());
            },
        ),
        fault(
            "a delegated role is not in the snapshot",
            RoleNotListed,
            "targets.json",
            |copy| {
                copy.delegate("extra", "extra/*");
            },
        ),
        fault("a bin is not in the snapshot", RoleNotListed, ".bins.json", |copy| {
            let empty = copy.empty_bin();
            edit_role(copy, "snapshot", |signed| {
                signed["meta"].as_object_mut().unwrap().remove(&format!("{empty}.json"));
            });
        }),
        fault(
            "a listed role to which nobody delegates",
            RoleUndelegated,
            "extra.json",
            |copy| {
                copy.add_role("extra", json!({}), Value::Null);
            },
        ),
        fault(
            "a listed role to which nobody delegates, gone",
            FileMissing,
            "extra.json",
            |copy| {
                copy.list("extra", 1);
                copy.publish();
            },
        ),
        fault("a circle of delegations", DelegationCycle, ".json", |copy| {
            let (to_b, to_a) = (
                copy.delegations(&[("b", "extra/*")]),
                copy.delegations(&[("a", "extra/*")]),
            );
            copy.add_role("a", json!({}), to_b);
            copy.add_role("b", json!({}), to_a);
            copy.delegate("a", "extra/*");
        }),
        fault(
            "a target behind 34 delegations",
            DelegationDepth,
            "target extra/x",
            |copy| {
                for number in 1..34 {
                    let next = copy.delegations(&[(&format!("c{}", number + 1), "extra/*")]);
                    copy.add_role(&format!("c{number}"), json!({}), next);
                }
                copy.add_role("c34", json!({"extra/x": listing(b"x")}), Value::Null);
                copy.delegate("c1", "extra/*");
                copy.put_target("extra/x", b"x");
            },
        ),
        fault(
            "a role with paths and hash prefixes",
            DelegationInvalid,
            ".bins.json",
            |copy| {
                edit_role(copy, "bins", |signed| {
                    signed["delegations"]["roles"][0]["paths"] = json!(["*"]);
                });
            },
        ),
        fault("a JSON key twice", JsonDuplicateKey, ".bins4-", |copy| {
            raw(copy, &copy.full_bin().0, r#""signed":{"#, r#""signed":{"version":1,"#);
        }),
        fault("a fraction", JsonFloat, ".bins4-", |copy| {
            raw(copy, &copy.full_bin().0, r#""signed":{"#, r#""signed":{"x":1.5,"#);
        }),
        fault("cut JSON", JsonInvalid, ".bins4-", |copy| {
            let file = copy.file(&copy.full_bin().0);
            let half = copy.bytes(&file);
            copy.put(&file, &half[..half.len() / 2]);
        }),
        fault(
            "a number that JavaScript cannot hold",
            JsonBigNumber,
            ".bins4-",
            |copy| {
                let bin = copy.full_bin().0;
                edit_role(copy, &bin, |signed| signed["x"] = u64::MAX.into());
            },
        ),
        fault("a control character", TextControl, ".bins4-", |copy| {
            let bin = copy.full_bin().0;
            edit_role(copy, &bin, |signed| signed["x"] = "\u{7}".into());
        }),
        fault("a field nobody knows", UnknownField, ".bins4-", |copy| {
            let bin = copy.full_bin().0;
            edit_role(copy, &bin, |signed| signed["x"] = 1.into());
        }),
        fault("a version that is no number", MetadataField, ".bins4-", |copy| {
            let bin = copy.full_bin().0;
            edit_role(copy, &bin, |signed| signed["version"] = "1".into());
        }),
        fault("a web page in place of a bin", JsonInvalid, ".bins4-", |copy| {
            copy.put(&copy.file(&copy.full_bin().0), "\n<!DOCTYPE html>");
        }),
        fault("a negative length", MetadataField, "timestamp.json", |copy| {
            edit_role(copy, "timestamp", |signed| {
                signed["meta"]["snapshot.json"]["length"] = (-1).into()
            });
        }),
        fault("hashes nobody can check", MetadataField, "timestamp.json", |copy| {
            edit_role(copy, "timestamp", |signed| {
                signed["meta"]["snapshot.json"]["hashes"] = json!({"md5": "00"});
            });
        }),
        fault(
            "a specification version that is a word",
            MetadataType,
            ".bins4-",
            |copy| {
                let bin = copy.full_bin().0;
                edit_role(copy, &bin, |signed| signed["spec_version"] = "one".into());
            },
        ),
        fault("the snapshot in place of a bin", MetadataType, ".bins4-", |copy| {
            let bin = copy.full_bin().0;
            edit_role(copy, &bin, |signed| signed["_type"] = "snapshot".into());
        }),
        fault("a name in another Unicode form", TextNotNfc, "extra.json", |copy| {
            extra_targets(copy, &["extra/e\u{301}"]);
        }),
        fault(
            "two names that clients sort differently",
            KeyOrder,
            "extra.json",
            |copy| {
                extra_targets(copy, &["extra/a", "extra/a b"]);
            },
        ),
        fault(
            "two names that only JavaScript sorts differently",
            KeyOrder,
            "extra.json",
            |copy| {
                extra_targets(copy, &["extra/\u{ff01}", "extra/😀"]);
            },
        ),
        fault(
            "a name that leaves its folder",
            NameHostile,
            "target extra/..",
            |copy| {
                extra_targets(copy, &["extra/.."]);
            },
        ),
        fault("2,001 targets in one role", RoleCrowded, "extra.json", |copy| {
            let names: Vec<_> = (0..2_001).map(|number| format!("extra/{number:04}")).collect();
            extra_targets(copy, &names.iter().map(String::as_str).collect::<Vec<_>>());
        }),
        fault(
            "the timestamp goes back during the walk",
            TimestampRollback,
            "timestamp.json",
            |copy| {
                let (mut signed, by) = (copy.signed("timestamp.json"), copy.signers("timestamp.json"));
                let before = copy.bytes("timestamp.json");
                signed["version"] = (signed["version"].as_u64().unwrap() + 1).into();
                copy.write("timestamp.json", &signed, &by);
                copy.table.remove("/metadata/succinct/timestamp.json");
                copy.answer("timestamp.json", |reply| {
                    let later = Reply {
                        body: before.clone(),
                        ..reply.clone()
                    };
                    reply.then(later)
                });
            },
        ),
        fault(
            "a versioned file changes during the walk",
            FileChanged,
            ".bins4-",
            |copy| {
                copy.answer(&copy.file(&copy.full_bin().0), |reply| {
                    let later = Reply {
                        body: [&reply.body[..], b"\n"].concat(),
                        ..reply.clone()
                    };
                    reply.then(later)
                });
            },
        ),
        fault("a versioned file goes during the walk", FileGone, ".bins4-", |copy| {
            copy.answer(&copy.file(&copy.full_bin().0), |reply| reply.then(Reply::status(404)));
        }),
    ]
}
