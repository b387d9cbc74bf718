//! The bytes of a download so far: a file beside its place that outlives an interruption.
//!
//! Its name is made of the target's hash, so that whoever wants the same bytes finds it. It is not trusted: what it
//! holds is hashed together with what comes after it.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
};

use tokio::io::AsyncWriteExt as _;

use super::place::Place;
use crate::tuf::hashes::{Check, Hashes, Mismatch};

/// How much is read at a time.
const BUFFER: usize = 256 << 10;

/// Bytes from the first one on, and their hash.
pub struct Partial<'a> {
    file: tokio::fs::File,
    hashes: Hashes,
    so_far: Check,
    beside: Option<Beside<'a>>,
}

/// The name of a file that is not what was asked for yet.
struct Beside<'a> {
    place: &'a Place,
    name: String,
    /// Stays when the download is given up: it can be continued.
    lasting: bool,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier download left, or begins a new one. Who comes while another process works on it gets a file
    /// for itself, which does not last.
    pub async fn open(place: &'a Place, hashes: &Hashes, length: u64) -> io::Result<Self> {
        let name = name(hashes);
        let (file, name, lasting) = match locked(place, &name)? {
            Some(file) => (file, name, true),
            None => {
                let own = format!(".tufgate-{:016x}.tmp", rand::random::<u64>());
                (place.new_beside(&own)?, own, false)
            }
        };
        let (file, so_far) = read(file, hashes.check(), length).await?;
        let beside = Some(Beside { place, name, lasting });
        Ok(Self {
            file: tokio::fs::File::from_std(file),
            hashes: *hashes,
            so_far,
            beside,
        })
    }

    /// Begins a download to a file without a name, which is gone with its last handle.
    pub fn nameless(hashes: &Hashes) -> io::Result<Self> {
        Ok(Self {
            file: tokio::fs::File::from_std(tempfile::tempfile()?),
            hashes: *hashes,
            so_far: hashes.check(),
            beside: None,
        })
    }

    /// How many bytes are there.
    pub fn length(&self) -> u64 {
        self.so_far.length()
    }

    /// Whether what is there is what was asked for.
    pub fn check(&self) -> Result<(), Mismatch> {
        self.so_far.clone().finish()
    }

    /// Adds bytes.
    pub async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece).await?;
        self.so_far.update(piece);
        Ok(())
    }

    /// Waits until all bytes are written.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.file.flush().await
    }

    /// Drops all bytes.
    pub async fn restart(&mut self) -> io::Result<()> {
        use tokio::io::AsyncSeekExt as _;
        self.file.set_len(0).await?;
        self.file.rewind().await?;
        self.so_far = self.hashes.check();
        Ok(())
    }

    /// What was downloaded is right: moves it to its place. Gives the file, at its first byte.
    pub async fn finish(mut self) -> io::Result<File> {
        self.file.flush().await?;
        self.file.sync_data().await?;
        let file = self.file.try_clone().await?;
        let mut file = file.into_std().await;
        if let Some(beside) = &self.beside {
            beside.place.take(&beside.name, &file)?;
            self.beside = None;
        }
        file.rewind()?;
        Ok(file)
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if let Some(Beside { place, name, lasting }) = &self.beside
            && (!*lasting || self.so_far.length() == 0)
        {
            // At worst it is found, hashed and dropped the next time.
            let _ = place.remove_beside(name);
        }
    }
}

/// The name of a partial download.
pub fn name(hashes: &Hashes) -> String {
    format!(".tufgate-{}.part", hashes.prefix())
}

/// Whether a beginning of a download lies there.
pub fn is_begun(place: &Place, hashes: &Hashes) -> bool {
    place.length_beside(&name(hashes)).is_some_and(|length| length > 0)
}

/// The lasting file, locked; `None` when another process has it, or it cannot be one of ours.
fn locked(place: &Place, name: &str) -> io::Result<Option<File>> {
    loop {
        let Some(file) = place.beside(name)? else {
            return Ok(None);
        };
        if file.try_lock().is_err() {
            return Ok(None);
        }
        // Whoever held it before may have moved it to its place since it was opened here.
        if place.is_beside(name, &file)? {
            return Ok(Some(file));
        }
    }
}

/// Hashes what is there; more than `length` bytes cannot be a beginning.
async fn read(mut file: File, mut check: Check, length: u64) -> io::Result<(File, Check)> {
    let work = move || -> io::Result<(File, Check)> {
        if file.metadata()?.len() > length {
            file.set_len(0)?;
        }
        hash(&mut file, &mut check)?;
        file.seek(SeekFrom::Start(check.length()))?;
        Ok((file, check))
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Adds a file's bytes to a hash.
pub fn hash(file: &mut File, check: &mut Check) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => check.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests;
