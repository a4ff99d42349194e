//! The compressors, behind one small face: bytes in, compressed bytes out when there are some; and what each holds in memory.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;

use crate::config::{Compression, Lines};

const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// At level 3 a window of 512 KiB instead of 2 MiB makes lines of JSON 4 % larger, and is a quarter faster;
/// an open object then takes 2 MB of memory instead of 3.7 MB.
const ZSTD_WINDOW_LOG_MAX: u32 = 19;
/// Above this level the user pays for size with time, so the window is left as large as the level has it.
const ZSTD_SMALL_WINDOW_LEVEL_MAX: i32 = 9;
/// What the gzip compressor holds, whatever its level.
const GZIP_BYTES: usize = 272 << 10;

/// How much a zstd compressor may remember of what it has seen. Less makes larger objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// As the level has it.
    Usual,
    /// Logarithms of the window, of its hash table, and of its chains.
    Reduced([u32; 3]),
}

impl Memory {
    /// In the order in which they are tried.
    const ALL: [Memory; 3] = [Memory::Usual, Memory::Reduced([19, 18, 17]), Memory::Reduced([16, 15, 14])];

    /// What zstd then holds, in bytes, at a level.
    fn bytes(self, level: i32) -> usize {
        let kib = match self {
            Memory::Usual => &ZSTD_KIB,
            Memory::Reduced([19, ..]) => &ZSTD_WINDOW_19_KIB,
            Memory::Reduced(_) => &ZSTD_WINDOW_16_KIB,
        };
        let index = usize::try_from(level.clamp(1, 22) - 1).unwrap_or(0);
        kib[index] << 10
    }
}

/// At levels 1 to 22, as the library says itself: see the test.
const ZSTD_KIB: [usize; 22] = [
    1_338, 1_530, 2_042, 3_322, 3_834, 3_834, 6_394, 6_394, 11_514, 25_338, 25_338, 45_818, 37_626, 54_010,
    70_394, 37_772, 58_252, 58_881, 91_649, 198_145, 394_753, 853_585,
];
const ZSTD_WINDOW_19_KIB: [usize; 22] = [
    2_298, 2_298, 2_810, 2_810, 2_554, 2_554, 2_554, 2_554, 2_554, 2_554, 2_554, 2_554, 2_810, 2_810, 2_810,
    2_956, 2_956, 3_585, 3_585, 3_585, 3_585, 3_585,
];
const ZSTD_WINDOW_16_KIB: [usize; 22] = [
    586, 586, 650, 650, 618, 618, 618, 618, 618, 618, 618, 618, 650, 650, 650, 796, 796, 1_110, 1_110, 1_110,
    1_110, 1_110,
];

/// One object being compressed.
pub(crate) enum Compressor {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    /// One that holds no more than `bytes_max`, if there is any that small; and what it holds.
    pub(crate) fn new(lines: &Lines, bytes_max: usize) -> io::Result<(Self, usize)> {
        Ok(match lines.compression {
            Compression::None => (Compressor::None(Vec::new()), 0),
            Compression::Gzip => {
                let level = lines.level.unwrap_or(GZIP_LEVEL).unsigned_abs();
                let encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(level));
                (Compressor::Gzip(encoder), GZIP_BYTES)
            }
            Compression::Zstd => {
                let level = lines.level.unwrap_or(ZSTD_LEVEL);
                let fits = |memory: &Memory| memory.bytes(level) <= bytes_max;
                let memory = Memory::ALL.into_iter().find(fits).unwrap_or(Memory::ALL[2]);
                let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
                for parameter in parameters(level, memory) {
                    encoder.set_parameter(parameter)?;
                }
                encoder.include_checksum(true)?;
                (Compressor::Zstd(encoder), memory.bytes(level))
            }
        })
    }

    /// Takes bytes and leaves their buffer empty.
    pub(crate) fn push(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Compressor::None(out) if out.is_empty() => std::mem::swap(out, bytes),
            Compressor::None(out) => out.append(bytes),
            Compressor::Gzip(encoder) => encoder.write_all(bytes)?,
            Compressor::Zstd(encoder) => encoder.write_all(bytes)?,
        }
        bytes.clear();
        Ok(())
    }

    /// What came out so far and was not taken yet.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Compressor::None(out) => out,
            Compressor::Gzip(encoder) => encoder.get_mut(),
            Compressor::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// The rest.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Compressor::None(out) => Ok(out),
            Compressor::Gzip(encoder) => encoder.finish(),
            Compressor::Zstd(encoder) => encoder.finish(),
        }
    }
}

fn parameters(level: i32, memory: Memory) -> Vec<CParameter> {
    match memory {
        Memory::Usual if level > ZSTD_SMALL_WINDOW_LEVEL_MAX => Vec::new(),
        Memory::Usual => vec![CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX)],
        Memory::Reduced([window, hash, chain]) => {
            vec![CParameter::WindowLog(window), CParameter::HashLog(hash), CParameter::ChainLog(chain)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zstd::zstd_safe::{CCtx, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

    /// What the library says it holds, in KiB, after the first bytes of an object of unknown length.
    fn held_kib(level: i32, memory: Memory) -> usize {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::CompressionLevel(level)).unwrap();
        for parameter in parameters(level, memory) {
            context.set_parameter(parameter).unwrap();
        }
        let (mut out, text) = (vec![0_u8; 200_000], vec![b'x'; 1_000]);
        let mut out = OutBuffer::around(&mut out[..]);
        let mut text = InBuffer::around(&text[..]);
        context.compress_stream2(&mut out, &mut text, ZSTD_EndDirective::ZSTD_e_continue).unwrap();
        context.sizeof().div_ceil(1_024)
    }

    /// Levels above 19 take hundreds of megabytes, and are left out.
    #[test]
    fn what_is_counted_is_what_zstd_holds() {
        for memory in Memory::ALL {
            for level in 1..=19 {
                let (held, counted) = (held_kib(level, memory), memory.bytes(level) >> 10);
                assert!(held.abs_diff(counted) * 20 <= held, "level {level}, {memory:?}: {held} KiB");
            }
        }
    }

    #[test]
    fn a_compressor_keeps_within_its_bound() {
        let held = |level, bytes_max| {
            let lines = Lines { compression: Compression::Zstd, level: Some(level) };
            Compressor::new(&lines, bytes_max).unwrap().1 >> 10
        };
        assert_eq!(held(3, 48 << 20), 2_042);
        assert_eq!(held(3, 2 << 20), 2_042);
        assert_eq!(held(3, 1 << 20), 650, "many are open");
        assert_eq!(held(19, 48 << 20), 3_585);
        assert_eq!(held(19, 100 << 20), 91_649, "where there is room");
        assert_eq!(held(3, 0), 650, "none holds nothing");
    }
}
