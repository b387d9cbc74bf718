//! Targets, under every name that some client asks for.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use sha2::{Digest as _, Sha256, Sha512};

use super::{
    Code, Place,
    role::Wanted,
    walk::{PARALLEL, Site, Walk},
    web,
};
use crate::{
    client::{fetch::FetchError, naming::TargetNaming},
    compat::Served,
};

/// How one download went.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Outcome {
    Good,
    /// No file, with the reason.
    Missing(String),
    /// Other bytes than listed, in words.
    Changed(String),
    /// Another length than listed.
    Length(String),
}

/// One target's downloads.
struct Done {
    wanted: Wanted,
    /// By hash algorithm, as `dir/H.name`.
    hashed_name: Vec<(String, Outcome)>,
    /// As `H.dir/name`; `None` where that is the same name.
    hashed_folder: Option<Outcome>,
    bare: Outcome,
    seen: Seen,
}

/// What was odd about some answer, whether or not the bytes were good.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    encoded: bool,
    redirected: bool,
}

impl Walk<'_> {
    /// Downloads targets and tells what is wrong with them.
    pub(super) async fn download(&mut self, wanted: Vec<Wanted>) {
        let consistent = self.facts.consistent;
        for chunk in wanted.chunks(PARALLEL) {
            let site = self.site.clone();
            let downloads = chunk
                .iter()
                .cloned()
                .map(|wanted| one(site.clone(), wanted, consistent));
            let done: Vec<Done> = stream::iter(downloads).buffered(PARALLEL).collect().await;
            for done in done {
                self.tell(done, consistent);
            }
            self.progress();
        }
    }

    fn tell(&mut self, done: Done, consistent: bool) {
        let place = Place::Target(done.wanted.path.clone());
        let findings = &mut self.findings;
        if done.seen.redirected {
            let message = "it is answered with a redirect, which not every client follows";
            findings.warning(Code::Redirected, &place, message);
        }
        if done.seen.encoded {
            let message = "it comes with a content encoding although identity was asked for";
            findings.error(Code::EncodingUnasked, &place, message);
            self.facts.encoded.get_or_insert_with(|| done.wanted.path.clone());
        }
        let folder = done
            .hashed_folder
            .iter()
            .map(|outcome| ("H.dir/name".to_owned(), outcome));
        let named = done
            .hashed_name
            .iter()
            .map(|(algorithm, outcome)| (format!("dir/{algorithm}.name"), outcome));
        let all: Vec<_> = named
            .chain(folder)
            .chain([("dir/name".to_owned(), &done.bare)])
            .collect();
        let mut worst = None;
        for (form, outcome) in &all {
            match outcome {
                Outcome::Changed(why) => worst = worst.or(Some((Code::TargetChanged, form, why))),
                Outcome::Length(why) => worst = worst.or(Some((Code::TargetLength, form, why))),
                Outcome::Good | Outcome::Missing(_) => {}
            }
        }
        if let Some((code, form, why)) = worst {
            findings.error(code, &place, format_args!("asked for as {form}, {why}"));
        }
        let good = |outcome: &Outcome| *outcome == Outcome::Good;
        match worst.is_none() && all.iter().any(|(_, outcome)| good(outcome)) {
            true => {
                self.counts.downloaded += 1;
                self.counts.bytes += done.wanted.length;
            }
            false => self.counts.failed += 1,
        }
        let nowhere = all.iter().all(|(_, outcome)| matches!(outcome, Outcome::Missing(_)));
        if nowhere {
            if let Some((form, Outcome::Missing(why))) = all.first() {
                let message = format!("it cannot be downloaded, asked for as {form}: {why}");
                findings.error(Code::TargetMissing, &place, message);
            }
            // Nobody gets it, whatever name is asked for.
            return;
        }
        for (form, outcome) in &all {
            let Outcome::Missing(why) = outcome else { continue };
            let message = format!("it cannot be downloaded as {form}: {why}");
            match consistent && form.starts_with("dir/") && *form != "dir/name" {
                true => findings.error(Code::TargetNameMissing, &place, message),
                false => findings.note(Code::TargetNameMissing, &place, message),
            }
        }
        let count = |served: &mut Served, outcome: &Outcome| match outcome {
            Outcome::Missing(_) => served.missing += 1,
            _ => served.good += 1,
        };
        for (_, outcome) in &done.hashed_name {
            count(&mut self.facts.hashed_name, outcome);
        }
        if let Some(outcome) = &done.hashed_folder {
            count(&mut self.facts.hashed_folder, outcome);
        }
        count(&mut self.facts.bare, &done.bare);
    }
}

async fn one(site: Arc<Site>, wanted: Wanted, consistent: bool) -> Done {
    let mut seen = Seen::default();
    let (mut hashed_name, mut hashed_folder) = (Vec::new(), None);
    if consistent {
        for (algorithm, hash) in &wanted.hashes {
            let (folder, name) = wanted.path.rsplit_once('/').unwrap_or(("", &wanted.path));
            let slash = if folder.is_empty() && !wanted.path.starts_with('/') {
                ""
            } else {
                "/"
            };
            let named = format!("{folder}{slash}{hash}.{name}");
            let outcome = fetch(&site, &named, &wanted, &mut seen).await;
            hashed_name.push((algorithm.clone(), outcome));
        }
        if let Some(hash) = wanted.hashes.get("sha256")
            && wanted.path.contains('/')
        {
            let named = format!("{hash}.{}", wanted.path);
            hashed_folder = Some(fetch(&site, &named, &wanted, &mut seen).await);
        }
    }
    let bare = fetch(&site, &wanted.path, &wanted, &mut seen).await;
    Done {
        wanted,
        hashed_name,
        hashed_folder,
        bare,
        seen,
    }
}

/// Downloads under one name and compares; nothing is kept. A length in the head is not believed.
async fn fetch(site: &Site, named: &str, wanted: &Wanted, seen: &mut Seen) -> Outcome {
    // Only the name matters: it holds the hash already.
    let url = site.targets.target(named, "", TargetNaming::Bare);
    let longer = || Outcome::Length(format!("it has more than the {} bytes that are listed", wanted.length));
    let (status, headers, mut stream) = match site.web.open(&url, wanted.length).await {
        Ok(answer) => answer,
        Err(error) => return Outcome::Missing(error.to_string()),
    };
    if status.is_redirection() {
        seen.redirected = true;
        match site.web.follow(&url, wanted.length).await {
            Ok(behind) => stream = behind,
            Err(FetchError::TooLong { .. }) => return longer(),
            Err(error) => return Outcome::Missing(error.to_string()),
        }
    } else if status != StatusCode::OK {
        return Outcome::Missing(format!("the answer is {status}"));
    }
    seen.encoded |= web::encoding(&headers).is_some();
    let (mut sha256, mut sha512, mut length) = (Sha256::new(), Sha512::new(), 0);
    let both = wanted.hashes.contains_key("sha512");
    loop {
        match stream.next().await {
            Ok(Some(piece)) => {
                length += piece.len() as u64;
                sha256.update(&piece);
                if both {
                    sha512.update(&piece);
                }
            }
            Ok(None) => break,
            Err(FetchError::TooLong { .. }) => return longer(),
            Err(error) => return Outcome::Missing(error.to_string()),
        }
    }
    if length != wanted.length {
        return Outcome::Length(format!("it has {length} bytes, but {} are listed", wanted.length));
    }
    let found = [
        ("sha256", hex::encode(sha256.finalize())),
        ("sha512", hex::encode(sha512.finalize())),
    ];
    for (algorithm, hash) in &wanted.hashes {
        let found = found.iter().find(|(name, _)| name == algorithm);
        if let Some((_, found)) = found
            && found != hash
        {
            return Outcome::Changed(format!("its {algorithm} is {found}, but {hash} is listed"));
        }
    }
    Outcome::Good
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compat::Facts, inspect::Counts};

    fn told(hashed_name: Outcome, hashed_folder: Outcome, bare: Outcome) -> (Vec<&'static str>, Facts, Counts) {
        let options = crate::inspect::Options {
            metadata_url: "http://h/metadata/".to_owned(),
            targets_url: "http://h/".to_owned(),
            root: Vec::new(),
            all: false,
            sample: 1,
            seed: 1,
            timeouts: crate::client::Timeouts::default(),
            authorities: crate::tls::Roots::default(),
        };
        let ignore = |_| {};
        let Ok(mut walk) = Walk::open(options, jiff::Timestamp::UNIX_EPOCH, &ignore) else {
            panic!("good URLs")
        };
        let done = Done {
            wanted: Wanted {
                path: "a/b".to_owned(),
                length: 1,
                hashes: Default::default(),
            },
            hashed_name: vec![("sha256".to_owned(), hashed_name)],
            hashed_folder: Some(hashed_folder),
            bare,
            seen: Seen::default(),
        };
        walk.tell(done, true);
        (walk.findings.codes(), walk.facts, walk.counts)
    }

    #[test]
    fn each_name_counts_for_the_clients_that_ask_for_it() {
        let missing = || Outcome::Missing("404".to_owned());
        assert!(told(Outcome::Good, Outcome::Good, Outcome::Good).0.is_empty());
        assert_eq!(told(missing(), missing(), missing()).0, ["target-missing"]);
        let (codes, facts, _) = told(missing(), Outcome::Good, Outcome::Good);
        assert_eq!(codes, ["target-name-missing"]);
        assert_eq!(facts.hashed_name, Served { good: 0, missing: 1 });
        let changed = Outcome::Changed("other".to_owned());
        assert_eq!(
            told(changed, Outcome::Good, missing()).0,
            ["target-changed", "target-name-missing"]
        );
        let long = Outcome::Length("long".to_owned());
        assert_eq!(told(Outcome::Good, long, Outcome::Good).0, ["target-length"]);
    }

    #[test]
    fn what_fails_is_no_download() {
        let missing = || Outcome::Missing("502".to_owned());
        let long = || Outcome::Length("long".to_owned());
        for (outcomes, counted) in [
            ([Outcome::Good, Outcome::Good, Outcome::Good], (1, 0, 1)),
            ([Outcome::Good, missing(), missing()], (1, 0, 1)),
            ([missing(), missing(), missing()], (0, 1, 0)),
            ([Outcome::Good, long(), Outcome::Good], (0, 1, 0)),
        ] {
            let [name, folder, bare] = outcomes;
            let counts = told(name, folder, bare).2;
            assert_eq!((counts.downloaded, counts.failed, counts.bytes), counted);
        }
    }
}
