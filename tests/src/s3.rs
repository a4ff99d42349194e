//! A real S3 server over a plain folder: what is in the bucket is read as files, past the server and every client.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::server;

/// versitygw on loopback, with key `test` and secret `testtest` in region `us-east-1`.
#[derive(Debug)]
pub struct S3 {
    folder: Folder,
    /// Where it listens.
    pub port: u16,
}

impl S3 {
    /// A running server without buckets.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        let s3 = Self { folder: Folder::new("s3"), port: server::free_ports(2) };
        s3.start_again();
        s3
    }

    /// Starts it again on what it held.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_again(&self) {
        server::start("s3.sh", self.folder.path(), self.port);
    }

    /// Kills it.
    pub fn kill(&self) {
        server::end(self.folder.path(), Signal::KILL);
    }

    /// Makes a bucket: the server takes every folder for one.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn create_bucket(&self, name: &str) {
        fs::create_dir_all(self.bucket(name)).expect("a folder for the bucket");
    }

    /// The folder that holds a bucket's objects.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.folder.path().join("objects").join(name)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}
