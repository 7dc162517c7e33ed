//! Small files of the kernel's, by their path below a root.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::super::machine::Reading;

/// CPUs in a list are numbered below this (CPU_SETSIZE of Linux): no list makes us a huge one.
const CPUS_MAX: u16 = 1024;

/// Files below a root.
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The text without white space around it.
    pub(super) fn text(&self, path: &str) -> io::Result<String> {
        std::fs::read(self.path(path))
            .map(|octets| String::from_utf8_lossy(&octets).trim().to_owned())
    }

    /// The text; why not, in words.
    pub(super) fn read(&self, path: &str) -> Reading<String> {
        self.text(path).map_err(|error| error.to_string())
    }

    /// A value that is all of the text.
    pub(super) fn value<T: FromStr>(&self, path: &str) -> Reading<T> {
        parse(&self.read(path)?)
    }

    /// A list of CPUs; one that is not there is empty, as the kernel leaves out what it does not do.
    pub(super) fn cpus(&self, path: &str) -> Reading<Vec<u16>> {
        match self.text(path) {
            Ok(text) => Ok(cpu_list(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What the link leads to, its last part.
    pub(super) fn link_name(&self, path: &str) -> Reading<String> {
        let target = std::fs::read_link(self.path(path)).map_err(|error| error.to_string())?;
        target
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .ok_or_else(|| "it leads nowhere".to_owned())
    }

    /// Names in a folder that begin with `prefix` and go on with a number: the numbers, in order.
    pub(super) fn numbers(&self, folder: &str, prefix: &str) -> Reading<Vec<u32>> {
        let entries =
            std::fs::read_dir(self.path(folder)).map_err(|error| error.to_string())?.flatten();
        let mut numbers: Vec<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

pub(super) fn parse<T: FromStr>(text: &str) -> Reading<T> {
    text.parse().map_err(|_| format!("{text:?} is not understood"))
}

/// `0-3,8`; what is no number is left out (`(null)` where there is none).
pub(super) fn cpu_list(text: &str) -> Vec<u16> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u16>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last && last < CPUS_MAX).then_some(first..=last)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The value behind `key:` in lines of keys and values.
pub(super) fn keyed<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
}

/// A number in front of its unit.
pub(super) fn leading_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tree with these files.
    pub(in super::super) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let files = Files::below(folder.path());
        (folder, files)
    }

    #[test]
    fn lists_of_cpus_are_ranges_and_numbers() {
        assert_eq!(cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(cpu_list("7"), [7]);
        assert_eq!(cpu_list("1023"), [1023]);
        for text in ["", "(null)", "3-1", "0-65535", "1024", "a-b"] {
            assert_eq!(cpu_list(text), Vec::<u16>::new(), "{text}");
        }
    }

    #[test]
    fn files_are_read_or_it_is_said_why_not() {
        let (_folder, files) =
            tree(&[("a/number", "7\n"), ("a/word", "seven"), ("a/cpu3/x", ""), ("a/cpu12/x", "")]);
        assert_eq!(files.value("a/number"), Ok(7_u32));
        assert!(files.value::<u32>("a/word").unwrap_err().contains("\"seven\""));
        assert!(files.value::<u32>("a/none").unwrap_err().contains("No such file"));
        assert_eq!(files.cpus("a/none"), Ok(Vec::new()));
        assert_eq!(files.numbers("a", "cpu"), Ok(vec![3, 12]));
        assert!(files.numbers("b", "cpu").is_err());
    }

    #[test]
    fn keys_have_values_behind_them() {
        let text = "VmRSS:\t 17 kB\nVmHWM: 19 kB\n";
        assert_eq!(keyed(text, "VmHWM").and_then(leading_number), Some(19));
        assert_eq!(keyed(text, "Vm"), None);
        assert_eq!(leading_number("unlimited"), None);
    }
}
