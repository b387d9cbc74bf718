//! A real nginx with DAV, in a folder and on a loopback port of its own, stopped when its handle is dropped.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::gate::free_addr;

const TEMPLATE: &str = include_str!("nginx.conf.in");

/// How long nginx may take to accept its first connection, or to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running nginx. Its files lie in [`Nginx::www`]; dropping it ends the processes and removes the folder.
#[derive(Debug)]
pub struct Nginx {
    child: Option<Child>,
    address: SocketAddr,
    http: String,
    server: String,
    dir: TempDir,
}

impl Nginx {
    /// Starts nginx over an empty folder.
    pub fn start() -> Nginx {
        Nginx::start_with("")
    }

    /// Starts nginx with more directives in its server block, such as `gzip on;` or a `location`.
    pub fn start_with(server: &str) -> Nginx {
        Nginx::start_as("", server, &[])
    }

    /// The same with more directives in its http block, such as a `map`, and files beside the configuration that the
    /// directives name as `@DIR@/NAME`.
    pub fn start_as(http: &str, server: &str, files: &[(&str, &str)]) -> Nginx {
        let dir = tempfile::Builder::new()
            .prefix("tufgate-nginx-")
            .tempdir()
            .expect("a temporary folder");
        fs::create_dir(dir.path().join("www")).expect("the folder for artifacts");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("a file beside the configuration");
        }
        // Another process may take the port between its choice and nginx's bind, so a start is tried again.
        for _ in 0..5 {
            let address = free_addr();
            if let Ok(child) = spawn(dir.path(), address, http, server) {
                return Nginx {
                    child: Some(child),
                    address,
                    http: http.to_owned(),
                    server: server.to_owned(),
                    dir,
                };
            }
        }
        panic!(
            "nginx does not start: {}{}",
            fs::read_to_string(dir.path().join("error.log")).unwrap_or_default(),
            fs::read_to_string(dir.path().join("stderr.log")).unwrap_or_default()
        );
    }

    /// The address nginx listens on; the same after [`Nginx::restart`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Reads the configuration and the files it includes again. Once this returns, nothing is answered by what they said
    /// before: the workers that knew it have ended.
    pub fn reload(&self) {
        let master = self.child.as_ref().expect("a running nginx").id();
        let before = workers(master);
        Command::new("sh")
            .args(["-c", "kill -HUP \"$0\"", &master.to_string()])
            .status()
            .expect("a signal to nginx");
        let begun = Instant::now();
        while workers(master).iter().any(|worker| before.contains(worker)) || workers(master).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "nginx does not reload");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The folder that is served.
    pub fn www(&self) -> PathBuf {
        self.dir.path().join("www")
    }

    /// The file a URL path names, given without percent-encoding; its folder is made, so that it can be written.
    pub fn file(&self, path: &str) -> PathBuf {
        let file = self.www().join(path);
        fs::create_dir_all(file.parent().expect("a path below www")).expect("the artifact's folder");
        file
    }

    /// What was asked so far, one line a request: `METHOD PATH STATUS BYTES "USER AGENT"`.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("access.log")).expect("the access log")
    }

    /// Ends nginx and frees its port; requests are refused until [`Nginx::restart`].
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child).expect("nginx ends when it is told to");
        }
    }

    /// Starts nginx again on the same port and files.
    pub fn restart(&mut self) {
        self.stop();
        self.child = Some(spawn(self.dir.path(), self.address, &self.http, &self.server).expect("nginx starts again"));
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A panic in here while a test is failing would hide that test's own message.
            let _ = end(&mut child);
        }
    }
}

/// Writes the configuration and starts nginx; an error if it ended before it accepted a connection.
fn spawn(dir: &Path, address: SocketAddr, http: &str, server: &str) -> io::Result<Child> {
    let config = dir.join("nginx.conf");
    // Workers of a master that runs as root become `nobody`, who may not enter the folder; else nginx warns of `user`.
    let user = if is_root(dir)? { "user root;" } else { "" };
    let filled = TEMPLATE
        .replace("@HTTP@", http)
        .replace("@SERVER@", server)
        .replace("@DIR@", &dir.display().to_string())
        .replace("@PORT@", &address.port().to_string())
        .replace("@USER@", user);
    fs::write(&config, filled)?;
    let mut child = Command::new("nginx")
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(&config)
        // What nginx says before it has read `error_log`.
        .args(["-e", "error.log"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(dir.join("stderr.log"))?)
        .spawn()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("nginx: {error}; `integration/install tests` gets it"),
            )
        })?;
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("nginx ended with {status}")));
        }
        if begun.elapsed() > PATIENCE {
            end(&mut child)?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nginx accepts no connection"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}

/// Process ids of a master's workers; those that end after a reload still count.
fn workers(master: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
    children
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Whether this process's files belong to root.
fn is_root(dir: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(dir)?.uid() == 0)
}

/// Ends the master by SIGTERM, so that it takes its workers along; a SIGKILL would leave them listening.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let told = Command::new("sh")
        .args(["-c", "kill -TERM \"$0\"", &child.id().to_string()])
        .status();
    let begun = Instant::now();
    while told.is_ok() && begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()
}
