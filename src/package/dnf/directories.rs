//! Where dnf and yum keep what they fetch and write, where the administrator has moved it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Variant;
use crate::package::rpm::conf;

/// Where dnf 5 reads more of its configuration: all files in the order of their names, in which one of the first
/// directory hides one of the same name in the second; `dnf.conf` has the last word (dnf5.conf(5), measured).
const DROP_INS: [&str; 2] = ["etc/dnf/libdnf5.conf.d", "usr/share/dnf5/libdnf.conf.d"];

impl Variant {
    /// The directories in which it keeps a directory for each repository; those that are there, where a variable
    /// stands in their name.
    #[must_use]
    pub fn caches(self) -> Vec<PathBuf> {
        directories(&self.cache(Path::new("/")))
    }

    /// The directories it does not start without writing to: those of [`caches`](Self::caches), and for dnf 4 that
    /// of its log.
    #[must_use]
    pub fn writes_to(self) -> Vec<PathBuf> {
        let root = Path::new("/");
        let cache = self.cache(root);
        let fixed = Path::new(&cache).components();
        let fixed = fixed.take_while(|part| !part.as_os_str().to_string_lossy().contains('$'));
        let log = (self == Self::Dnf4).then(|| self.says(root, "logdir"));
        let log = log.flatten().map(PathBuf::from);
        [fixed.collect()].into_iter().chain(log).collect()
    }

    /// The setting that names them: root of dnf 5 has one of its own, and pays no heed to `cachedir` (measured).
    fn cache(self, root: &Path) -> String {
        let (setting, usual) = match self {
            Self::Dnf4 => ("cachedir", "/var/cache/dnf"),
            Self::Dnf5 => ("system_cachedir", "/var/cache/libdnf5"),
            Self::Yum => ("cachedir", "/var/cache/yum/$basearch/$releasever"),
        };
        let said = self.says(root, setting);
        said.unwrap_or_else(|| usual.to_owned())
    }

    /// The value of a setting.
    fn says(self, root: &Path, setting: &str) -> Option<String> {
        let main = match self {
            Self::Dnf4 | Self::Dnf5 => "etc/dnf/dnf.conf",
            Self::Yum => "etc/yum.conf",
        };
        let mut files = if self == Self::Dnf5 {
            drop_ins(root)
        } else {
            Vec::new()
        };
        files.push(root.join(main));
        let value =
            |file: &PathBuf| conf::of_main(&fs::read_to_string(file).ok()?, &[setting]).pop();
        files.iter().rev().find_map(value)
    }
}

fn drop_ins(root: &Path) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for directory in DROP_INS.iter().rev() {
        let entries = fs::read_dir(root.join(directory)).into_iter().flatten();
        let files = entries
            .flatten()
            .map(|entry| (entry.file_name(), entry.path()));
        found.extend(files.filter(|(_, path)| path.extension().is_some_and(|end| end == "conf")));
    }
    found.into_values().collect()
}

/// The directories of a name in which variables may stand, such as `$basearch`. dnf 5 writes them as they are.
fn directories(name: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in Path::new(name).components() {
        let part = part.as_os_str();
        found = if part.to_string_lossy().contains('$') {
            let entries = found
                .iter()
                .filter_map(|directory| fs::read_dir(directory).ok());
            entries
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect()
        } else {
            found.iter().map(|directory| directory.join(part)).collect()
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_configuration_says() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let write = |file: &str, text: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let cache = |variant: Variant| variant.cache(root);
        assert_eq!(cache(Variant::Dnf4), "/var/cache/dnf");
        assert_eq!(cache(Variant::Dnf5), "/var/cache/libdnf5");
        write("etc/dnf/dnf.conf", "[main]\ncachedir = /srv/dnf\n");
        assert_eq!(cache(Variant::Dnf4), "/srv/dnf");
        assert_eq!(cache(Variant::Dnf5), "/var/cache/libdnf5");
        let says = |name: &str| format!("[main]\nsystem_cachedir=/srv/{name}\n");
        write("etc/dnf/libdnf5.conf.d/10.conf", &says("ten"));
        assert_eq!(cache(Variant::Dnf5), "/srv/ten");
        write("usr/share/dnf5/libdnf.conf.d/10.conf", &says("hidden"));
        assert_eq!(cache(Variant::Dnf5), "/srv/ten");
        write("usr/share/dnf5/libdnf.conf.d/20.conf", &says("twenty"));
        assert_eq!(cache(Variant::Dnf5), "/srv/twenty");
        write("etc/dnf/dnf.conf", &says("main"));
        assert_eq!(cache(Variant::Dnf5), "/srv/main");
    }

    #[test]
    fn a_variable_stands_for_every_name() {
        let root = tempfile::tempdir().unwrap();
        let found = |name: &str| directories(&format!("{}/{name}", root.path().display()));
        fs::create_dir_all(root.path().join("x86_64/7")).unwrap();
        assert_eq!(
            found("$basearch/$releasever"),
            [root.path().join("x86_64/7")]
        );
        assert_eq!(found("no"), [root.path().join("no")]);
        assert!(found("no/$basearch").is_empty());
    }
}
