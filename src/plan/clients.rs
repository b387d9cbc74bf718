//! What each client asks for, when: read in its source at the version that `compat` names, and counted in the access log of
//! a server by the gate's tests.

use serde::Serialize;

use super::{Ask, Files, files::Size};
use crate::compat::cost::tuf_js_seconds;

/// How a client reads.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    name: &'static str,
    /// Through `succinct` where it can, which is smaller, else through `prefixes`.
    succinct: bool,
    /// It asks for gzip and undoes it.
    gzip: bool,
    keeps: Keeps,
    /// Its time grows with squares.
    quadratic: bool,
}

/// What is left of the last time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Keeps {
    /// Every role, asked for again when snapshot lists another version.
    Roles,
    /// Snapshot, and targets.json while snapshot is the same: delegated roles are asked for each time.
    Top,
    /// Nothing that saves a request; and every role there is is loaded before the first target.
    Nothing,
}

/// Requests and bytes of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Requests, the one for a newer root included.
    pub requests: f64,
    /// Bytes of metadata; heads and targets apart.
    pub bytes: f64,
}

impl Traffic {
    fn add(&mut self, times: f64, bytes: u64) {
        self.requests += times;
        self.bytes += times * bytes as f64;
    }
}

/// What a client pays.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    /// Which client.
    pub client: &'static str,
    /// Which view it reads.
    pub view: &'static str,
    /// A user who has nothing but the root.
    pub new_user: Traffic,
    /// A user who was here a day ago, for the same targets.
    pub returning: Traffic,
    /// A user who is up to date, for one release more.
    pub release: Traffic,
    /// Seconds of computing for a new user, where that matters.
    pub seconds: f64,
}

impl Reader {
    /// Every client that reads bins.
    pub const ALL: [Reader; 6] = [
        Reader {
            name: "python-tuf",
            succinct: true,
            gzip: false,
            keeps: Keeps::Roles,
            quadratic: false,
        },
        Reader {
            name: "tuf-js",
            succinct: true,
            gzip: true,
            keeps: Keeps::Roles,
            quadratic: true,
        },
        Reader {
            name: "go-tuf",
            succinct: true,
            gzip: true,
            keeps: Keeps::Roles,
            quadratic: false,
        },
        Reader {
            name: "tough",
            succinct: false,
            gzip: false,
            keeps: Keeps::Nothing,
            quadratic: false,
        },
        Reader {
            name: "sigstore-tuf",
            succinct: false,
            gzip: false,
            keeps: Keeps::Top,
            quadratic: false,
        },
        Reader {
            name: "tufgate get",
            succinct: false,
            gzip: false,
            keeps: Keeps::Roles,
            quadratic: false,
        },
    ];

    /// What it pays at so many bins.
    pub(super) fn costs(&self, ask: &Ask, bins: u32, files: &Files) -> Costs {
        let bins = f64::from(bins);
        let asked = ask.uses.min(ask.targets) as f64;
        // Bins that so many targets lie in, and the share of bins that a day's releases change.
        let used = bins * (1.0 - (1.0 - 1.0 / bins).powf(asked));
        let changed = 1.0 - (1.0 - 1.0 / bins).powf(ask.rate);
        let published = ask.rate.min(1.0);
        Costs {
            client: self.name,
            view: if self.succinct { "succinct" } else { "prefixes" },
            new_user: self.traffic(bins, files, (1.0, 1.0), (used, used)),
            returning: self.traffic(bins, files, (published, 0.0), (used * changed, used)),
            release: self.traffic(bins, files, (1.0, 0.0), (1.0, 1.0)),
            seconds: match self.quadratic {
                true => tuf_js_seconds(files.listed, 0) + used * tuf_js_seconds(0, files.bin_targets.round() as u64),
                false => 0.0,
            },
        }
    }

    /// A refresh and some look-ups: the chance that snapshot, and that delegators are new; and of the bins that are looked
    /// into, how many are new, and all.
    fn traffic(&self, bins: f64, files: &Files, (snapshot, delegators): (f64, f64), (new, all): (f64, f64)) -> Traffic {
        let size = |size: Size| if self.gzip { size.gzip } else { size.plain };
        let delegator = if self.succinct { files.succinct } else { files.prefixes };
        let mut traffic = Traffic::default();
        // The root after the newest is not there.
        traffic.add(1.0, 0);
        traffic.add(1.0, size(files.timestamp));
        let nothing = self.keeps == Keeps::Nothing;
        traffic.add(if nothing { 1.0 } else { snapshot }, size(files.snapshot));
        let targets = match self.keeps {
            Keeps::Roles => delegators,
            Keeps::Top => snapshot,
            Keeps::Nothing => 1.0,
        };
        traffic.add(targets, size(files.targets));
        traffic.add(
            if self.keeps == Keeps::Roles { delegators } else { 1.0 },
            size(delegator),
        );
        match self.keeps {
            Keeps::Roles => traffic.add(new, size(files.bin)),
            Keeps::Top => traffic.add(all, size(files.bin)),
            Keeps::Nothing => {
                traffic.requests += bins;
                traffic.bytes += files.all as f64;
            }
        }
        traffic
    }
}
