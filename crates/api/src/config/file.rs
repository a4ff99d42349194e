//! The files that a configuration names: certificates, passwords, schemas, offsets.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// More than any of them has: the authorities of a whole system take a quarter of a MiB.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// The bytes of a file of `bytes_max` at most. A device, a pipe or a socket is refused before it is opened: it may have no
/// end, or may never begin.
pub fn read_bytes(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() {
            "it is a folder"
        } else {
            "it is a device, a pipe or a socket, not a file"
        };
        return Err(io::Error::other(what));
    }
    let mut bytes = Vec::new();
    // What it grows meanwhile is not trusted either.
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// The same as text; an error of kind `InvalidData` when it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: usize) -> io::Result<String> {
    String::from_utf8(read_bytes(path, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_bounded_size_are_read() {
        for endless in ["/dev/zero", "/dev/stdin", "/"] {
            assert!(read_bytes(Path::new(endless), 10).is_err(), "{endless}");
        }
        let path = std::env::temp_dir().join(format!("aqueduct-file-{}", std::process::id()));
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_text(&path, 10).unwrap(), "0123456789");
        assert_eq!(read_bytes(&path, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 9).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::remove_file(&path).unwrap();
    }
}
