//! tufgate: a reverse proxy that puts TUF (The Update Framework) in front of an artifact server nobody has to change.
//!
//! The program `tufgate` is this library with a command line ([`Cli`]). What else it offers is for two kinds of
//! programs: those that have the gate inside their own Pingora application, and those that download from a gate or from
//! any other TUF repository. `README.md` says what the gate promises and how it is configured; `src/README.md` is the
//! tour of the code.
//!
//! # The gate in your own Pingora application
//!
//! [`embed`] starts what works in the background (signer, catalog, intake, the admin listener where one is configured)
//! and gives a [`Gate`]. The listener stays yours. The gate has one method for each of Pingora's filters that it needs;
//! call each from the filter of the same name, with a [`GateCtx`] that is a field of your own `CTX`:
//!
//! ```no_run
//! use async_trait::async_trait;
//! use bytes::Bytes;
//! use pingora::{
//!     Error, Result,
//!     http::{RequestHeader, ResponseHeader},
//!     proxy::{FailToProxy, ProxyHttp, Session, http_proxy_service},
//!     server::{RunArgs, Server, configuration::ServerConf},
//!     upstreams::peer::HttpPeer,
//! };
//! use tufgate::{Config, Gate, GateCtx, Outcome, Overrides, SignerPlace};
//!
//! struct Site {
//!     gate: Gate,
//! }
//!
//! #[async_trait]
//! impl ProxyHttp for Site {
//!     type CTX = GateCtx; // or a struct of yours with a field of this type
//!
//!     fn new_ctx(&self) -> GateCtx {
//!         GateCtx::default()
//!     }
//!
//!     async fn request_filter(&self, session: &mut Session, ctx: &mut GateCtx) -> Result<bool> {
//!         // Your own routes come first; they call none of the gate's methods.
//!         Ok(self.gate.request_filter(session, ctx).await? == Outcome::Answered)
//!     }
//!
//!     async fn upstream_peer(&self, _: &mut Session, ctx: &mut GateCtx) -> Result<Box<HttpPeer>> {
//!         self.gate.upstream_peer(ctx).await
//!     }
//!
//!     async fn upstream_request_filter(
//!         &self,
//!         session: &mut Session,
//!         request: &mut RequestHeader,
//!         ctx: &mut GateCtx,
//!     ) -> Result<()> {
//!         self.gate.upstream_request_filter(session, request, ctx)
//!     }
//!
//!     async fn request_body_filter(
//!         &self,
//!         session: &mut Session,
//!         body: &mut Option<Bytes>,
//!         end: bool,
//!         ctx: &mut GateCtx,
//!     ) -> Result<()> {
//!         self.gate.request_body_filter(session, body, end, ctx).await
//!     }
//!
//!     async fn upstream_response_filter(
//!         &self,
//!         session: &mut Session,
//!         response: &mut ResponseHeader,
//!         ctx: &mut GateCtx,
//!     ) -> Result<()> {
//!         self.gate.upstream_response_filter(session, response, ctx).await
//!     }
//!
//!     async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut GateCtx) -> FailToProxy {
//!         self.gate.fail_to_proxy(session, error, ctx).await
//!     }
//!
//!     async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut GateCtx) {
//!         self.gate.logging(session, error, ctx).await;
//!     }
//! }
//!
//! fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//!     let config = Config::load("tufgate.toml")?;
//!     let (listen, runtime) = (config.listen(), tokio::runtime::Runtime::new()?);
//!     let (gate, running) = runtime.block_on(tufgate::embed(config, SignerPlace::Here, Overrides::default()))?;
//!
//!     let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
//!     server.bootstrap();
//!     let mut site = http_proxy_service(&server.configuration, Site { gate });
//!     site.add_tcp(&listen.to_string());
//!     server.add_service(site);
//!     server.run(RunArgs::default()); // until a signal ends it
//!
//!     println!("{}", runtime.block_on(running.stop())); // last of all
//!     Ok(())
//! }
//! ```
//!
//! ## The rules
//!
//! - **Every hook, and in its own filter.** A request that [`Gate::request_filter`] let through is the gate's to its
//!   end. A hook that a program leaves out does not go unnoticed: the request fails with 500 rather than be
//!   acknowledged unrecorded, or, where the answer is already out, the path is read again; either way an error line
//!   names the hook and `tufgate_untapped_total` counts it.
//! - **Bodies.** The gate must see an upload's body as it goes upstream: a filter of yours that changes it runs before
//!   [`Gate::request_body_filter`]. An answer that the gate writes leaves as the gate wrote it: Pingora's compression
//!   of responses is off for it. What it lets through is yours to filter.
//! - **Order of start and stop.** [`embed`] first, then your listener; your listener ends first, then
//!   [`Running::stop`], which waits for the gate's requests in flight, then for the signer. The gate answers 503 once
//!   it is stopping. The tokio runtime that [`embed`] was called on must live until then; requests may run on others.
//! - **Keys.** With [`SignerPlace::Here`] the online keys are in your process. [`SignerPlace::Child`] keeps them in a
//!   process of their own, as `tufgate serve` does; [`SignerPlace::Elsewhere`] leaves the signer to
//!   `tufgate serve --role signer`.
//!
//! The gate speaks through `tracing` and sets up no subscriber. `integration/embed/` has a whole application.
//!
//! # Downloading
//!
//! [`Client`] is a TUF client: it verifies everything, keeps what it trusts in a folder, and writes no file that is not
//! what the metadata lists.
//!
//! ```no_run
//! # async fn example() -> Result<(), tufgate::ClientError> {
//! use std::path::Path;
//!
//! use tufgate::{Client, ClientOptions, Trust};
//!
//! let mut client = Client::open(ClientOptions::new(
//!     "http://artifacts.example/metadata/",
//!     "http://artifacts.example/",
//!     Trust::RootFile("1.root.json".into()),
//!     "trusted",
//! ))?;
//! if let Some(target) = client.find("demo/hello.txt").await? {
//!     println!("{} bytes, as `{}` says: {}", target.length, target.role, target.hashes);
//! }
//! client.download("demo/hello.txt", Path::new("hello.txt"), |_, _| {}).await?;
//! # Ok(())
//! # }
//! ```
//!
//! One [`Client`] is one update: what its refresh saw holds for all look-ups until the next. Several clients and
//! processes may share a store; a lock makes them take turns, and no version in it ever goes back.
//!
//! # Stability
//!
//! What stands on this page is the surface; `integration/tests/surface.txt` lists it, and a test fails when it changes.
//! `internals` is for this package's own tests and fuzz targets and may change at any time.

// Modules stand here in the order of who may import whom: each only those above it. All are private.

mod clock;
mod conditions;
mod digest;
mod freshness;
mod range;
mod terminal;
mod tls;

mod beside;
mod target;

mod policy;

mod tuf;

mod delegated;

mod config;

mod telemetry;

mod keys;

mod depot;
mod ledger;
mod upstream;
mod wake;

mod cache;

mod catalog;
mod intake;
mod signer;

mod client;
mod inspect;

mod audit;
mod ceremony;

mod admin;
mod proxy;

mod server;

mod cli;

pub use crate::{
    cli::Cli,
    client::{
        Attack, Client, ClientError, ClientOptions, Downloaded, TargetFile, TargetNaming, Timeouts, Trust,
        fetch::FetchError,
    },
    clock::{Clock, SystemClock},
    config::{Config, ConfigError},
    digest::{Digest, DigestParseError},
    proxy::{Gate, GateCtx, Outcome},
    server::{EmbedError, Overrides, Running, SignerPlace, SignerProgram, Stopped, embed},
    target::{NoForm, TargetPath},
};

/// The seams a host program may fill with parts of its own, through [`Overrides`].
pub mod seams {
    pub use crate::{
        depot::{Depot, DepotError, Stored},
        upstream::{Answer, Ask, Body, Framing, Upstream, UpstreamError},
    };
}

/// What this package's tests and fuzz targets look into; no part of the surface, and may change at any time.
#[doc(hidden)]
pub mod internals {
    /// Drafts of root and offline targets.
    pub mod ceremony {
        pub use crate::ceremony::*;
    }
    /// The TUF client, step by step.
    pub mod client {
        pub use crate::client::*;
    }
    /// Time.
    pub mod clock {
        pub use crate::clock::*;
    }
    /// Checked configuration.
    pub mod config {
        pub use crate::config::*;
    }
    /// Where signed files lie.
    pub mod depot {
        pub use crate::depot::*;
    }
    /// SHA-256.
    pub mod digest {
        pub use crate::digest::*;
    }
    /// Live repositories, looked into.
    pub mod inspect {
        pub use crate::inspect::*;
    }
    /// Signing keys.
    pub mod keys {
        pub use crate::keys::*;
    }
    /// The durable record.
    pub mod ledger {
        pub use crate::ledger::*;
    }
    /// Rules.
    pub mod policy {
        pub use crate::policy::*;
    }
    /// Names.
    pub mod target {
        pub use crate::target::*;
    }
    /// Canonical JSON, roles, signatures.
    pub mod tuf {
        pub use crate::tuf::*;
    }
    /// The gate's own requests.
    pub mod upstream {
        pub use crate::upstream::*;
    }
}
