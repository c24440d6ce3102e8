//! Where the lines go: a file that is appended to, or standard output.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::config::AuditFile;

/// Others may read what an operator lets them: the file is made for its owner alone.
const MODE: Mode = Mode::from_raw_mode(0o600);

/// The file, open.
#[derive(Debug)]
pub(super) struct AuditOutput {
    target: AuditFile,
    file: File,
    /// How long it is known to be.
    length: u64,
}

/// What has become of the file since it was looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is the same.
    None,
    /// Another one is open now, or what was in it is gone.
    BeginsAnew,
}

impl AuditOutput {
    /// Opens it for appending, and makes it where there is none. A line that was left incomplete is ended.
    ///
    /// # Errors
    /// It cannot be opened or made; its name is a symbolic link.
    pub(super) fn open(target: AuditFile) -> io::Result<Self> {
        let file = match &target {
            AuditFile::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            AuditFile::Path(path) => {
                let mut file = open(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)?;
                if ends_inside_of_a_line(path, &file) {
                    file.write_all(b"\n")?;
                }
                file
            }
        };
        let length = length(&file);
        Ok(Self {
            target,
            file,
            length,
        })
    }

    /// Finds out whether the file was moved, replaced, removed or truncated, and opens the one that has its name now.
    ///
    /// # Errors
    /// There is none that can be opened. The one from before stays open, and is tried again.
    pub(super) fn reopen_if_replaced(&mut self) -> io::Result<Change> {
        let AuditFile::Path(path) = &self.target else {
            return Ok(Change::None);
        };
        let own = rustix::fs::fstat(&self.file)?;
        let is_own = rustix::fs::lstat(path).is_ok_and(|there| is_same(&there, &own));
        if !is_own {
            *self = Self::open(self.target.clone())?;
            return Ok(Change::BeginsAnew);
        }
        let length = length(&self.file);
        let truncated = length < self.length;
        self.length = length;
        Ok(if truncated {
            Change::BeginsAnew
        } else {
            Change::None
        })
    }

    /// Writes some of the bytes; how many.
    ///
    /// # Errors
    /// None could be written.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    // Without NONBLOCK a pipe that nobody reads would hold the thread up for ever.
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, MODE);
    opened.map(File::from).map_err(|error| {
        if error == rustix::io::Errno::LOOP {
            let reason = "it is a symbolic link, which is not followed: name the file itself";
            return io::Error::new(io::ErrorKind::InvalidInput, reason);
        }
        error.into()
    })
}

/// Whether the last line of a file has no end: a process was stopped while it wrote.
fn ends_inside_of_a_line(path: &Path, file: &File) -> bool {
    let last = || -> io::Result<u8> {
        let own = rustix::fs::fstat(file)?;
        let mut reader = open(path, OFlags::RDONLY)?;
        if FileType::from_raw_mode(own.st_mode) != FileType::RegularFile
            || !is_same(&rustix::fs::fstat(&reader)?, &own)
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        reader.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    // An empty file has no last byte.
    last().is_ok_and(|byte| byte != b'\n')
}

fn is_same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |known| known.len())
}
