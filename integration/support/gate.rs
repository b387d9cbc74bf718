//! The gate under test: the real binary in a folder of its own, started as an operator starts it.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::http::{self, Response};

/// How a gate is to be set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The artifact server.
    pub upstream: String,
    /// `[[rule]]` tables.
    pub rules: String,
    /// Further tables or keys, as TOML; `[gate]` keys go to `gate`.
    pub extra: String,
    /// Further keys of `[gate]`.
    pub gate: String,
    /// Further keys of `[upstream]`.
    pub upstream_keys: String,
    /// Environment variables of the process.
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// Everything immutable, learned by uploads and fetches.
    pub fn learning(upstream: impl Into<String>) -> Self {
        Self {
            upstream: upstream.into(),
            rules: "[[rule]]\npath = \"**\"\nkind = \"immutable\"\nlearn = \"fetch\"\n".to_owned(),
            extra: String::new(),
            gate: String::new(),
            upstream_keys: String::new(),
            environment: Vec::new(),
        }
    }

    /// The same with other rules.
    pub fn rules(mut self, rules: &str) -> Self {
        rules.clone_into(&mut self.rules);
        self
    }

    /// The same with further keys of `[gate]`.
    pub fn gate(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.gate);
        self
    }

    /// The same with further keys of `[upstream]`.
    pub fn upstream_keys(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.upstream_keys);
        self
    }

    /// The same without a cache.
    pub fn uncached(self) -> Self {
        self.extra("[cache]\nmemory = 0\nmemory_max_object = 0\ndisk = 0\n")
    }

    /// The same with an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with further tables.
    pub fn extra(mut self, tables: &str) -> Self {
        tables.clone_into(&mut self.extra);
        self
    }
}

/// A gate; killed when dropped.
pub struct Gate {
    /// Where clients connect.
    pub addr: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// Its folder.
    pub dir: PathBuf,
    environment: Vec<(String, String)>,
    _folder: Option<tempfile::TempDir>,
    child: Option<Child>,
}

/// The binary under test: cargo's own, or the one that `integration/run --release` built.
pub fn binary() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_tufgate").or(option_env!("CARGO_BIN_EXE_embed"));
    let given = std::env::var_os("TUFGATE_BIN").map(PathBuf::from);
    given.or(built.map(PathBuf::from)).expect("no binary to test")
}

/// A loopback address nobody listens on at this moment, another one each time.
pub fn free_addr() -> SocketAddr {
    // The system may give a port again as soon as it is free.
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(addr) {
            return addr;
        }
    }
}

/// Runs the binary to its end.
pub fn tufgate(dir: &Path, args: &[&str]) -> Output {
    Command::new(binary())
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Waits for a condition, 30 s at most.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Gate {
    /// Sets a gate up in a temporary folder and starts it.
    pub fn start(setup: &Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("tufgate-test-").tempdir().unwrap();
        let dir = folder.path().to_path_buf();
        let mut gate = Self::prepare(setup, dir);
        gate._folder = Some(folder);
        gate.run();
        gate
    }

    /// Writes configuration and keys, and stops there.
    pub fn prepare(setup: &Setup, dir: PathBuf) -> Self {
        let (addr, admin) = (free_addr(), free_addr());
        let config = format!(
            "[gate]\nlisten = \"{addr}\"\n{}\n[upstream]\nurl = \"{}\"\n{}\n[admin]\nlisten = \"{admin}\"\n[log]\naccess = true\n{}\n{}",
            setup.gate, setup.upstream, setup.upstream_keys, setup.extra, setup.rules
        );
        fs::write(dir.join("tufgate.toml"), config).unwrap();
        let init = Command::new(binary())
            .args([
                "init",
                "--config",
                "tufgate.toml",
                "--root-keys",
                "1",
                "--root-threshold",
                "1",
                "--root-dir",
                "root",
                "--unencrypted",
            ])
            .current_dir(&dir)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(init.status.success(), "init: {}", String::from_utf8_lossy(&init.stderr));
        Self {
            addr,
            admin,
            dir,
            environment: setup.environment.clone(),
            _folder: None,
            child: None,
        }
    }

    /// Starts it and waits until it is ready.
    pub fn run(&mut self) {
        self.launch();
        self.until_ready();
    }

    /// Starts it, ready or not.
    pub fn launch(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("gate.log"))
            .unwrap();
        let child = Command::new(binary())
            .args(["serve", "--config", "tufgate.toml"])
            .current_dir(&self.dir)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until `/readyz` says 200 and clients can connect, which is not the gate's to say where the listener is
    /// another program's; fails with the log when the process ends first.
    pub fn until_ready(&mut self) {
        let (addr, admin) = (self.addr, self.admin);
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let open = |addr| std::net::TcpStream::connect(addr).is_ok();
            if open(admin) && http::get(admin, "/readyz").status == 200 && open(addr) {
                return;
            }
            let gone = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(gone.is_none(), "the gate ended with {gone:?}:\n{}", self.log());
            assert!(Instant::now() < end, "not ready after 30 s:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Process id of its signer.
    pub fn signer_pid(&self) -> Option<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        // The supervising thread need not be the main one: any thread's children count.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?;
        let direct = fs::read_to_string(path).unwrap_or_default();
        let others = tasks
            .flatten()
            .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        std::iter::once(direct)
            .chain(others)
            .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .find_map(|id| id.parse().ok())
    }

    /// SIGKILL to both processes; waits for their end.
    pub fn kill(&mut self) {
        if self.child.is_none() {
            return;
        }
        let signer = self.signer_pid();
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(pid) = signer {
            signal("KILL", pid);
            until("the signer's end", || !Path::new(&format!("/proc/{pid}")).exists());
        }
    }

    /// SIGTERM; waits for the end and gives the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        signal("TERM", self.pid());
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("gate.log")).unwrap_or_default()
    }

    /// `http://ADDR`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The first root.
    pub fn root(&self) -> PathBuf {
        self.dir.join("metadata/1.root.json")
    }

    /// GET.
    pub fn get(&self, target: &str) -> Response {
        http::get(self.addr, target)
    }

    /// PUT.
    pub fn put(&self, target: &str, body: &[u8]) -> Response {
        http::put(self.addr, target, body)
    }

    /// PUT that waits until it is signed.
    pub fn publish(&self, target: &str, body: &[u8]) -> Response {
        let response = http::request(self.addr, "PUT", target, &[("Prefer", "wait=20")], body);
        assert!((200..300).contains(&response.status), "{target}: {response:?}");
        assert!(
            response
                .header("tufgate-status")
                .is_some_and(|status| status.starts_with("signed")),
            "{target}: {response:?}"
        );
        response
    }

    /// A subcommand with `--config`.
    pub fn command(&self, args: &[&str]) -> Output {
        let mut all = args.to_vec();
        all.extend(["--config", "tufgate.toml"]);
        tufgate(&self.dir, &all)
    }

    /// `/status` of the admin listener.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&http::get(self.admin, "/status").body).unwrap()
    }

    /// A value of `/metrics`, summed over labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(http::get(self.admin, "/metrics").body).unwrap();
        text.lines()
            .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process this test started.
pub fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}
