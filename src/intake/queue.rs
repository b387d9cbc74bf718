//! Neutral reads asked for: names to learn, and paths that differed. Each path waits once, in one of two queues.

use std::collections::HashSet;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::Intake;
use crate::target::TargetPath;

/// Neutral reads of each queue at once; the reader has a bound of its own.
pub(super) const WORKERS: usize = 8;

/// A background neutral read.
#[derive(Debug)]
pub(super) enum Task {
    /// Learn a path that is not recorded.
    Learn(TargetPath),
    /// A response differed from the record.
    Suspect(TargetPath),
}

impl Task {
    fn path(&self) -> &TargetPath {
        match self {
            Self::Learn(path) | Self::Suspect(path) => path,
        }
    }
}

impl Intake {
    /// Asks for a neutral read that may record the path. Dropped when the queue is full or the path is queued already.
    pub fn want(&self, path: &TargetPath) {
        self.enqueue(Task::Learn(path.clone()));
    }

    /// Asks for a neutral read that confirms or ends drift.
    pub fn suspect(&self, path: &TargetPath) {
        self.enqueue(Task::Suspect(path.clone()));
    }

    /// As [`Intake::suspect`], at most every two seconds a path: readers of a blocked path ask at every request.
    pub fn recheck(&self, path: &TargetPath) {
        if !self.rechecked.contains_key(path) {
            self.rechecked.insert(path.clone(), ());
            self.suspect(path);
        }
    }

    fn enqueue(&self, task: Task) {
        let path = task.path().clone();
        if !self.queued().insert(path.clone()) {
            return;
        }
        let queue = match task {
            Task::Learn(_) => &self.learns,
            Task::Suspect(_) => &self.suspects,
        };
        if queue.try_send(task).is_err() {
            self.queued().remove(&path);
            self.parts
                .metrics
                .unlearned_total
                .with_label_values(&["queue-full"])
                .inc();
        }
    }

    fn queued(&self) -> std::sync::MutexGuard<'_, HashSet<TargetPath>> {
        self.queued.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) async fn drain(&self, queue: &mut mpsc::Receiver<Task>) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                task = queue.recv(), if running.len() < WORKERS => match task {
                    Some(task) => running.push(self.perform(task)),
                    None => return,
                },
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }

    async fn perform(&self, task: Task) {
        let path = task.path().clone();
        // The path leaves the set first: what happens from here on deserves another look.
        self.queued().remove(&path);
        let Some(rule) = self.policy().tracked(path.as_str()) else {
            return;
        };
        let done = match task {
            Task::Learn(_) => self.read_and_learn(&path, rule).await.map(drop),
            Task::Suspect(_) => self.judge(&path, rule).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, target.path = %path, "a neutral read of `{path}` gave no verdict");
        }
    }
}
