#![allow(clippy::unwrap_used)]

use super::*;

/// A signer's end that can be stopped.
struct Signer {
    wake: Arc<Notify>,
    publish: watch::Sender<u64>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Signer {
    async fn at(path: &Path) -> Self {
        let listener = WakeListener::bind(path).await.unwrap();
        let (wake, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        let (publish, published) = watch::channel(0);
        let task = tokio::spawn(listener.serve(Arc::clone(&wake), published, shutdown.clone()));
        Self {
            wake,
            publish,
            shutdown,
            task,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// A proxy's end: its wake, and the number of calls of `on_published`.
fn proxy(path: &Path, shutdown: &CancellationToken) -> (Arc<Notify>, watch::Receiver<u32>) {
    let wake = Arc::new(Notify::new());
    let (calls, called) = watch::channel(0);
    tokio::spawn(run(
        path.to_owned(),
        Arc::clone(&wake),
        move || calls.send_modify(|n| *n += 1),
        shutdown.clone(),
    ));
    (wake, called)
}

#[tokio::test]
async fn wakes_and_publications_cross_and_survive_a_restart_of_the_signer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signer.sock");
    let shutdown = CancellationToken::new();
    let signer = Signer::at(&path).await;
    let (wake, mut called) = proxy(&path, &shutdown);
    signer.wake.notified().await; // the connection's own byte
    called.wait_for(|n| *n >= 1).await.unwrap();

    wake.notify_one();
    signer.wake.notified().await;
    let before = *called.borrow_and_update();
    signer.publish.send_replace(1);
    called.wait_for(|n| *n > before).await.unwrap();

    let before = *called.borrow_and_update();
    signer.stop().await;
    called.wait_for(|n| *n > before).await.unwrap();
    wake.notify_one(); // lost with the connection, made good when there is a new one
    let signer = Signer::at(&path).await;
    signer.wake.notified().await;
    signer.stop().await;
    shutdown.cancel();
}

#[tokio::test]
async fn a_stale_socket_is_taken_over_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signer.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves the file, as SIGKILL does
    let listener = WakeListener::bind(&path).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(WakeListener::bind(&path).await, Err(WakeError::Taken(_))));
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_command_can_nudge() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signer.sock");
    assert!(nudge(&path).await.is_err());
    let signer = Signer::at(&path).await;
    nudge(&path).await.unwrap();
    signer.wake.notified().await;
    signer.stop().await;
}
