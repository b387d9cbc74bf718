//! Requests made up from a seed: who asks for what, under which name, with which conditions.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    stage::{Artifact, Stage},
    zones::{Guard, ZONES, Zone},
};

/// What a client says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credential {
    None,
    /// Opens the zone.
    Alice,
    /// Opens the zone too.
    Bob,
    /// Known to nobody.
    Bad,
    /// Was good once.
    Expired,
    /// Good, but for something else.
    Foreign,
    /// A line without a value.
    Empty,
    /// A bad one and a good one, on two lines.
    Twice,
    /// Good, but of another kind than the zone wants.
    OtherKind,
}

/// How the artifact is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name {
    Plain,
    /// `dir/H.name`
    HashedFile,
    /// `H.dir/name`
    HashedFolder,
    /// `dir/H.name` with a hash of something else.
    WrongHash,
    /// With an escaped letter: the same path.
    Escaped,
    /// A spelling without canonical form.
    Odd(&'static str),
    /// `http://host/path`
    Absolute,
    /// With a query.
    Query(&'static str),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Case {
    pub zone: &'static Zone,
    pub artifact: &'static str,
    pub head: bool,
    pub name: Name,
    /// Lines besides Host.
    pub headers: Vec<(&'static str, String)>,
    /// How many of the first `headers` tell who asks.
    pub credentials: usize,
    /// On a connection of its own.
    pub fresh: bool,
}

impl Case {
    /// A GET or HEAD without conditions.
    pub fn plain(zone: &'static Zone, artifact: &'static str, head: bool, credential: Credential) -> Self {
        let headers = shown(zone.guard, credential, 0);
        Self {
            zone,
            artifact,
            head,
            name: Name::Plain,
            credentials: headers.len(),
            headers,
            fresh: true,
        }
    }

    /// The same with a line more.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The request of this number: the same for the same seed, whatever ran before.
    pub fn numbered(seed: u64, number: usize, stage: &Stage) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ ((number as u64) << 20));
        let zone = ZONES.choose(&mut rng).unwrap();
        let big = stage.artifacts.contains_key(&(zone.name, "big"));
        let artifact = match rng.random_range(0..100) {
            0 if big => "big",
            0..12 => "mid",
            12..40 => "one",
            40..80 => "kib",
            80..90 => "cold",
            _ => "new",
        };
        use Credential::{Alice, Bad, Bob, Empty, Expired, Foreign, None, OtherKind, Twice};
        let credential = pick(
            &mut rng,
            &[
                (20, None),
                (24, Alice),
                (14, Bob),
                (11, Bad),
                (8, Expired),
                (8, Foreign),
                (4, Empty),
                (4, Twice),
                (7, OtherKind),
            ],
        );
        let turn = rng.random_range(0..4);
        let mut case = Self::plain(zone, artifact, rng.random_bool(0.2), credential);
        case.headers = shown(zone.guard, credential, turn);
        case.credentials = case.headers.len();
        case.fresh = rng.random_bool(0.15);
        let recorded = zone.recorded() && !matches!(artifact, "cold" | "new");
        case.name = name(&mut rng, recorded);
        let artifact = &stage.artifacts[&(zone.name, artifact)];
        conditions(&mut rng, artifact, &mut case.headers);
        case
    }

    /// Whether it tells who asks.
    pub fn credentialed(&self) -> bool {
        self.credentials > 0
    }

    /// The request's bytes for `host`; of a hash-prefixed name, `literal` says whether to ask for it or for what it
    /// stands for.
    pub fn bytes(&self, host: &str, artifact: &Artifact, literal: bool) -> Vec<u8> {
        self.bytes_for(host, &self.target(host, artifact, literal), true)
    }

    /// The same for another target, with credentials or without.
    pub fn bytes_for(&self, host: &str, target: &str, credentials: bool) -> Vec<u8> {
        let method = if self.head { "HEAD" } else { "GET" };
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        let skipped = if credentials { 0 } else { self.credentials };
        for (name, value) in self.headers.iter().skip(skipped) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn target(&self, host: &str, artifact: &Artifact, literal: bool) -> String {
        let (folder, file) = (self.zone.name, self.artifact);
        let plain = format!("/z/{folder}/{file}");
        match self.name {
            Name::HashedFile if literal => format!("/z/{folder}/{}.{file}", artifact.digest),
            Name::HashedFolder if literal => format!("/{}.z/{folder}/{file}", artifact.digest),
            Name::Plain | Name::HashedFile | Name::HashedFolder => plain,
            Name::WrongHash => format!("/z/{folder}/{}.{file}", "ab".repeat(32)),
            Name::Escaped => format!("/z/{folder}/%{:x}{}", file.as_bytes()[0], &file[1..]),
            Name::Odd(form) => form.replace("DIR", &format!("z/{folder}")).replace("NAME", file),
            Name::Absolute => format!("http://{host}{plain}"),
            Name::Query(query) => format!("{plain}{query}"),
        }
    }
}

fn pick<T: Copy>(rng: &mut StdRng, weighted: &[(u32, T)]) -> T {
    let mut left = rng.random_range(0..weighted.iter().map(|(weight, _)| weight).sum());
    for (weight, value) in weighted {
        match left.checked_sub(*weight) {
            Some(less) => left = less,
            None => return *value,
        }
    }
    unreachable!("the weights add up")
}

/// The lines that say it, in the form the zone asks for; `turn` chooses where it asks for none.
fn shown(guard: Guard, credential: Credential, turn: usize) -> Vec<(&'static str, String)> {
    let forms = [Guard::Basic, Guard::Bearer, Guard::Cookie, Guard::Key];
    let form = match guard {
        Guard::Open | Guard::Shut(_) => forms[turn % 4],
        Guard::Revoked | Guard::Closed => Guard::Bearer,
        guard => guard,
    };
    match credential {
        Credential::None => Vec::new(),
        Credential::Twice => vec![line(form, Credential::Bad), line(form, Credential::Alice)],
        Credential::OtherKind => {
            let others: Vec<Guard> = forms.into_iter().filter(|other| *other != form).collect();
            vec![line(others[turn % 3], Credential::Alice)]
        }
        one => vec![line(form, one)],
    }
}

fn line(form: Guard, credential: Credential) -> (&'static str, String) {
    let who = match credential {
        Credential::Alice => "alice",
        Credential::Bob => "bob",
        Credential::Expired => "expired",
        Credential::Foreign => "foreign",
        _ => "nobody",
    };
    let empty = credential == Credential::Empty;
    let unless_empty = |text: String| if empty { String::new() } else { text };
    match form {
        Guard::Basic => {
            // alice:secret-a, bob:secret-b; the others are not in the password file.
            let pair = match who {
                "alice" => "YWxpY2U6c2VjcmV0LWE=",
                "bob" => "Ym9iOnNlY3JldC1i",
                "expired" => "Y2Fyb2w6c2VjcmV0LWM=",
                "foreign" => "YWxpY2U6c2VjcmV0LWI=",
                _ => "bm9ib2R5Og==",
            };
            ("Authorization", unless_empty(format!("Basic {pair}")))
        }
        Guard::Cookie => ("Cookie", unless_empty(format!("theme=dark; session=session-{who}"))),
        Guard::Key => ("X-JFrog-Art-Api", unless_empty(format!("key-{who}"))),
        _ => ("Authorization", unless_empty(format!("Bearer token-{who}"))),
    }
}

/// Hash-prefixed names stand for what is recorded; the others are for everything.
fn name(rng: &mut StdRng, recorded: bool) -> Name {
    match rng.random_range(0..100) {
        0..10 if recorded => Name::HashedFile,
        10..16 if recorded => Name::HashedFolder,
        16..20 if recorded => Name::WrongHash,
        20..24 => Name::Escaped,
        24..26 => Name::Absolute,
        26..31 => Name::Odd(
            [
                "/DIR%2FNAME",
                "/DIR//NAME",
                "/DIR/./NAME",
                "/DIR/x/../NAME",
                "//DIR/NAME",
                "/DIR/NAME%00",
                "/DIR/%2e/NAME",
                "/DIR/..%2Fx/NAME",
                "/DIR\\NAME",
            ]
            .choose(rng)
            .unwrap(),
        ),
        31..36 => Name::Query(["?", "?x=1", "?token=token-alice", "?a&b"].choose(rng).unwrap()),
        _ => Name::Plain,
    }
}

/// Adds ranges and preconditions.
fn conditions(rng: &mut StdRng, artifact: &Artifact, headers: &mut Vec<(&'static str, String)>) {
    let (etag, modified) = (artifact.etag.clone(), artifact.modified.clone());
    let length = artifact.bytes.len();
    let (old, future) = ("Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
    let ranged = rng.random_bool(0.4);
    if ranged {
        let at = rng.random_range(0..length);
        let range = match rng.random_range(0..12) {
            0..4 => format!("bytes={at}-{}", at + rng.random_range(0..64)),
            4 => format!("bytes={at}-"),
            5 | 6 => format!("bytes=-{}", rng.random_range(1..100)),
            7 => "bytes=0-".to_owned(),
            8 => format!("bytes=0-0,{at}-{at}, -1"),
            9 => format!("bytes={length}-"),
            10 => "bytes=-0".to_owned(),
            _ => ["bytes=9-3", "lines=0-1", "bytes=a-b", "bytes="]
                .choose(rng)
                .unwrap()
                .to_string(),
        };
        headers.push(("Range", range));
    }
    match rng.random_range(0..20) {
        0 | 1 => headers.push(("If-None-Match", etag.clone())),
        2 => headers.push((
            "If-None-Match",
            format!("\"other\", W/{}", etag.trim_start_matches("W/")),
        )),
        3 => headers.push(("If-None-Match", "\"other\"".to_owned())),
        4 => headers.push(("If-None-Match", "*".to_owned())),
        5 => headers.push(("If-Modified-Since", modified.clone())),
        6 => headers.push(("If-Modified-Since", old.to_owned())),
        7 => headers.push(("If-Modified-Since", future.to_owned())),
        8 => headers.extend([
            ("If-None-Match", "\"other\"".to_owned()),
            ("If-Modified-Since", modified.clone()),
        ]),
        9 => headers.extend([("If-None-Match", etag.clone()), ("If-Modified-Since", old.to_owned())]),
        _ => {}
    }
    if ranged && rng.random_bool(0.3) {
        let validator = match rng.random_range(0..5) {
            0 | 1 => etag,
            2 => format!("W/{}", artifact.etag.trim_start_matches("W/")),
            3 => modified,
            _ => "\"other\"".to_owned(),
        };
        headers.push(("If-Range", validator));
    }
}
