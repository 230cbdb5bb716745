//! What a program or a library needs to be loaded: read from its file, which is never run for that. ldd(1) would
//! start what the file names, and the file may be that of an unprivileged user.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The most of one table that is read, in bytes.
const TABLE: u64 = 1024 * 1024;

/// The most program headers that are read; linkers write a dozen.
const HEADERS: u64 = 128;

/// Values of elf(5).
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What a file needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The names of libraries.
    pub libraries: Vec<String>,
    /// Directories to look for them in before those of the host; `$ORIGIN` stands for that of the file.
    pub paths: Vec<String>,
}

/// What the file needs; none when it is no ELF file, or needs nothing.
pub fn needs(path: &Path) -> Option<Needs> {
    // opening a pipe may block, and a pipe is no program
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags).ok()?)
        .open(path)
        .ok()?;
    file.metadata().ok()?.is_file().then_some(())?;
    Elf::open(&file)?.needs()
}

/// A part of the file: where it lies in memory, where in the file, and how many bytes of it.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

struct Elf<'a> {
    file: &'a File,
    is_64: bool,
    is_big: bool,
    segments: Vec<Segment>,
}

impl<'a> Elf<'a> {
    fn open(file: &'a File) -> Option<Self> {
        let mut head = [0; 64];
        let length = file.read_at(&mut head, 0).ok()?;
        (length >= 52 && head.starts_with(b"\x7fELF")).then_some(())?;
        let mut elf = Self {
            file,
            is_64: head[4] == 2,
            is_big: head[5] == 2,
            segments: Vec::new(),
        };
        let [offset, size, count] = if elf.is_64 {
            [(32, 8), (54, 2), (56, 2)]
        } else {
            [(28, 4), (42, 2), (44, 2)]
        }
        .map(|(at, width)| elf.number(&head, at, width));
        let (offset, size, count) = (offset?, size?, count?.min(HEADERS));
        let table = elf.read(offset, size.checked_mul(count)?)?;
        let fields = if elf.is_64 {
            [(0, 4), (8, 8), (16, 8), (32, 8)]
        } else {
            [(0, 4), (4, 4), (8, 4), (16, 4)]
        };
        for entry in table.chunks(usize::try_from(size).ok().filter(|size| *size > 0)?) {
            let [kind, offset, address, size] =
                fields.map(|(at, width)| elf.number(entry, at, width));
            elf.segments.push(Segment {
                kind: kind?,
                offset: offset?,
                address: address?,
                size: size?,
            });
        }
        Some(elf)
    }

    fn needs(&self) -> Option<Needs> {
        let mut segments = self.segments.iter();
        let dynamic = segments.find(|segment| segment.kind == PT_DYNAMIC)?;
        let table = self.read(dynamic.offset, dynamic.size)?;
        let width = if self.is_64 { 8 } else { 4 };
        let entries: Vec<(u64, u64)> = table
            .chunks_exact(2 * width)
            .filter_map(|entry| {
                let tag = self.number(entry, 0, width)?;
                Some((tag, self.number(entry, width, width)?))
            })
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let value = |wanted| {
            let mut entries = entries.iter();
            entries.find_map(|(tag, value)| (*tag == wanted).then_some(*value))
        };
        let strings = self.read(self.place(value(DT_STRTAB)?)?, value(DT_STRSZ)?)?;
        let text = |at: u64| {
            let rest = strings.get(usize::try_from(at).ok()?..)?;
            let bytes = rest.split(|&byte| byte == 0).next()?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        let mut needs = Needs::default();
        for (tag, value) in entries {
            match tag {
                DT_NEEDED => needs.libraries.extend(text(value)),
                DT_RPATH | DT_RUNPATH => {
                    let paths = text(value).unwrap_or_default();
                    needs.paths.extend(paths.split(':').map(str::to_owned));
                }
                _ => {}
            }
        }
        Some(needs)
    }

    /// Where in the file lies what is loaded to an address.
    fn place(&self, address: u64) -> Option<u64> {
        let mut loaded = self.segments.iter().filter(|s| s.kind == PT_LOAD);
        loaded.find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.size).then(|| segment.offset.checked_add(within))?
        })
    }

    fn read(&self, offset: u64, size: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(size.min(TABLE)).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// The number of so many bytes in there.
    fn number(&self, bytes: &[u8], at: usize, width: usize) -> Option<u64> {
        let bytes = bytes.get(at..at + width)?.iter();
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.is_big {
            bytes.fold(0, add)
        } else {
            bytes.rev().fold(0, add)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_its_libraries_and_a_text_none() {
        let needs = |path: &str| needs(Path::new(path));
        let own = needs("/proc/self/exe").unwrap();
        let is_libc = |name: &String| name.starts_with("libc.");
        assert!(own.libraries.iter().any(is_libc), "{own:?}");
        assert_eq!(needs("/proc/self/status"), None);
        assert_eq!(needs("/"), None);
        assert_eq!(needs("/nowhere"), None);
    }

    /// A file of 32 bits, the highest byte first: the tables behind each other, the strings at an address.
    #[test]
    fn the_other_kinds_of_files_are_read() {
        let mut bytes = b"\x7fELF\x01\x02".to_vec();
        bytes.resize(52, 0);
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(28, &52u32.to_be_bytes());
        put(42, &32u16.to_be_bytes());
        put(44, &2u16.to_be_bytes());
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        // loaded at 0x1000 from the start; the dynamic section behind both headers
        bytes.extend(words(&[1, 0, 0x1000, 0, 0x200, 0, 0, 0]));
        bytes.extend(words(&[2, 116, 0, 0, 40, 0, 0, 0]));
        bytes.extend(words(&[1, 1, 29, 9, 5, 0x1000 + 156, 10, 20, 0, 0]));
        bytes.extend(b"\0libx.so\0$ORIGIN:/y\0");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let expected = Needs {
            libraries: vec!["libx.so".into()],
            paths: vec!["$ORIGIN".into(), "/y".into()],
        };
        assert_eq!(needs(file.path()), Some(expected));
        for cut in 0..bytes.len() {
            std::fs::write(file.path(), &bytes[..cut]).unwrap();
            let _ = needs(file.path());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_survived(
            class in 0u8..4,
            order in 0u8..4,
            rest in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let bytes = [b"\x7fELF", &[class, order][..], &rest].concat();
            std::fs::write(file.path(), bytes).unwrap();
            let _ = needs(file.path());
        }
    }
}
