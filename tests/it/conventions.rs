//! The tree obeys its own rules.

use std::path::{Path, PathBuf};

use fanal::commands::french;
use fanal::format::cause::Cause;
use fanal::gateway::front::fix::Fix;
use fanal::reason::Reason;

/// Largest picture of the papers, in bytes.
const PICTURE_LIMIT: u64 = 200_000;

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All files below, with their text; pictures have none.
fn files(directory: &str, end: &str) -> Vec<(String, String)> {
    let mut waiting = vec![tree(directory)];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "png") {
            let size = path.metadata().unwrap().len();
            assert!(size < PICTURE_LIMIT, "{} has {size} bytes", path.display());
        } else if path.to_str().unwrap().ends_with(end) {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
    assert!(!found.is_empty(), "{directory}");
    found.sort();
    found
}

/// Code without comments and, where they begin, without tests at the end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or(line)))
}

fn sources() -> Vec<(String, String)> {
    files("src", ".rs")
}

#[test]
fn decisions_and_bytes_are_pure() {
    const IMPURE: &[&str] = &[
        "tokio::",
        "quinn::",
        "retina::",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "SystemTime::now",
        "Instant::now",
        "getrandom::",
        "std::env",
        "std::thread",
    ];
    let pure = ["src/media", "src/format", "src/policy"].map(|floor| files(floor, ".rs"));
    for (path, text) in pure.concat() {
        for (line, code) in code(&text) {
            for word in IMPURE {
                assert!(!code.contains(word), "{path}:{line}: {word}");
            }
        }
    }
}

/// The modules of the floor plan in a file's header, from the top row down, each with those
/// that it may use.
fn floor_plan(file: &str) -> Vec<(String, Vec<String>)> {
    let mut plan: Vec<(String, Vec<String>)> = Vec::new();
    let text = std::fs::read_to_string(tree(file)).unwrap();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((module, _)) = row.split_once('`').and_then(|(_, at)| at.split_once('`')) else {
            continue;
        };
        let above: Vec<String> = plan.iter().map(|(above, _)| above.clone()).collect();
        let uses = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        let uses = match uses {
            "–" => Vec::new(),
            "all above" => above,
            named => {
                let named: Vec<String> = named.split(' ').map(str::to_owned).collect();
                let not_above = named.iter().find(|used| !above.contains(used));
                assert_eq!(not_above, None, "{file}: {module} is not below it");
                named
            }
        };
        plan.push((module.to_owned(), uses));
    }
    plan
}

/// The modules at the root that a line of code names: `crate::X`, or by as many `super`
/// as lead to the root from a file `depth` modules below it.
fn named_modules(code: &str, depth: usize) -> Vec<&str> {
    let up = "super::".repeat(depth);
    let inside = |at: usize| code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let named = |root: &str| -> Vec<&str> {
        code.match_indices(root)
            .filter(|(at, _)| !inside(*at) && !code[..*at].ends_with("super::"))
            .map(|(at, _)| &code[at + root.len()..])
            .filter_map(|rest| {
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
            })
            .filter(|name| *name != "super")
            .collect()
    };
    [named("crate::"), named(&up)].concat()
}

#[test]
fn no_module_uses_one_below_it() {
    let plan = floor_plan("src/lib.rs");
    let root = format!("{}/", tree("src").display());
    for (path, text) in sources() {
        let file = path.strip_prefix(&root).unwrap();
        let parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
        let is_test = parts.contains(&"tests");
        if is_test || ["lib", "main"].contains(&parts[0]) {
            continue;
        }
        let depth = parts.iter().filter(|part| **part != "mod").count();
        let Some((_, uses)) = plan.iter().find(|(module, _)| module == parts[0]) else {
            panic!(
                "{path}: {} is not in the floor plan of src/lib.rs",
                parts[0]
            );
        };
        for (line, code) in code(&text) {
            for name in named_modules(code, depth) {
                let may = name == parts[0] || uses.iter().any(|used| used == name);
                assert!(
                    may,
                    "{path}:{line}: {} uses {name:?}, which its row in src/lib.rs does not name",
                    parts[0]
                );
            }
        }
    }
}

/// The modules that one of the page imports: `text/desk.js` for `from "/page/text/desk.js"`.
/// Types in comments are no imports.
fn page_imports(text: &str) -> Vec<&str> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('*'));
    let imported = code.filter_map(|line| {
        let named = line.split_once("/**").map_or(line, |(before, _)| before);
        let path = named
            .split_once("from \"")
            .or_else(|| named.split_once("import(\""));
        path.and_then(|(_, path)| path.split_once('"'))
    });
    imported
        .map(|(path, _)| path.strip_prefix("/page/").expect(path))
        .collect()
}

#[test]
fn the_page_has_floors_and_no_circle() {
    let plan = floor_plan("src/console/mod.rs");
    let root = format!("{}/", tree("src/console/page").display());
    let sources = files("src/console/page", ".js");
    let mut modules: Vec<(&str, Vec<&str>)> = sources
        .iter()
        .map(|(path, text)| (path.strip_prefix(&root).unwrap(), page_imports(text)))
        .collect();
    let seen: usize = modules.iter().map(|(_, imports)| imports.len()).sum();
    assert!(seen > 150, "only {seen} imports");
    let floor = |module: &'_ str| module.split('/').next().unwrap().to_owned();
    for (module, imports) in &modules {
        let own = floor(module);
        let Some((_, uses)) = plan.iter().find(|(name, _)| *name == own) else {
            panic!("{module} is not in the floor plan of src/console/mod.rs");
        };
        for import in imports {
            let named = floor(import);
            let may = named == own || uses.contains(&named);
            assert!(may, "{module} imports {import}: see src/console/mod.rs");
        }
    }
    // Without a circle, some module always imports nothing that is left.
    while !modules.is_empty() {
        let left: Vec<&str> = modules.iter().map(|(module, _)| *module).collect();
        modules.retain(|(_, imports)| imports.iter().any(|import| left.contains(import)));
        assert!(modules.len() < left.len(), "a circle of imports: {left:?}");
    }
}

#[test]
fn queues_are_bounded_and_tasks_are_owned() {
    for (path, text) in sources() {
        for (line, code) in code(&text) {
            assert!(
                !code.contains("unbounded_channel"),
                "{path}:{line}: unbounded"
            );
            let owned = !code.trim_start().starts_with("tokio::spawn(")
                && !code.contains("let _ = tokio::spawn(");
            assert!(owned, "{path}:{line}: nobody owns this task");
            assert!(
                !code.contains("mem::forget"),
                "{path}:{line}: forgets a value"
            );
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    let whole = [sources(), files("tests", ".rs"), files("deploy", "")].concat();
    for (path, text) in whole {
        if path.ends_with("conventions.rs") {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("] {
                assert!(!line.contains(word), "{path}:{}: {word}", index + 1);
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        let limit = if path.ends_with("/tests.rs") {
            1200
        } else {
            700
        };
        assert!(lines <= limit, "{path} has {lines} lines: split it");
        let says = text.starts_with("//!") || path.ends_with("/tests.rs");
        assert!(says, "{path} does not say what it is for");
    }
}

/// Where a paper's table under `heading` begins and ends; only rows that begin with a code count.
fn table(text: &str, heading: &str) -> std::ops::Range<usize> {
    let at = text.find(&format!("\n{heading}\n"));
    let section = at.unwrap_or_else(|| panic!("no section {heading}")) + 1 + heading.len();
    let rest = &text[section..];
    let end = rest.find("\n## ").unwrap_or(rest.len());
    let first = rest[..end].find("\n| `").expect(heading) + 1;
    let last = rest[..end].rfind("\n| `").unwrap() + 1;
    let last = last + rest[last..].find('\n').unwrap() + 1;
    section + first..section + last
}

/// A table that the code decides: its rows are these. `FANAL_WRITE_REFERENCE` writes them.
fn is_generated(paper: &str, heading: &str, rows: &[String]) {
    let path = tree(paper);
    let mut text = std::fs::read_to_string(&path).unwrap();
    let range = table(&text, heading);
    let wanted: String = rows.iter().map(|row| format!("{row}\n")).collect();
    if std::env::var_os("FANAL_WRITE_REFERENCE").is_some() {
        text.replace_range(range, &wanted);
        std::fs::write(&path, text).unwrap();
        return;
    }
    let written = &text[range];
    let differ = written.lines().zip(wanted.lines()).find(|(a, b)| a != b);
    assert!(
        written == wanted,
        "{paper}, {heading} is not as the code has it ({differ:?}); \
         FANAL_WRITE_REFERENCE=1 cargo test --test it conventions writes it"
    );
}

#[test]
fn the_reference_says_every_reason_and_cause_in_two_languages() {
    let row = |reason: &Reason| {
        let (code, number, http) = (reason.code(), reason.number(), reason.http_status());
        let (english, french) = (reason.english(), reason.french());
        assert!(english.len() > 10 && french.len() > 10, "{code}");
        assert_ne!(english, french, "{code}");
        format!("| `{code}` | {number} | {http} | {english} | {french} |")
    };
    let rows: Vec<String> = Reason::ALL.iter().map(row).collect();
    is_generated("deploy/reference/reasons.md", "## Codes", &rows);
    let fixed = std::fs::read_to_string(tree("deploy/reference/interfaces.md")).unwrap();
    for reason in Reason::ALL {
        let code = format!("`{reason}`");
        assert!(fixed.contains(&code), "{code} is not in interfaces.md");
    }

    let row = |cause: &Cause| format!("| `{cause}` | {} | {} |", cause.english(), cause.french());
    let rows: Vec<String> = Cause::ALL.iter().map(row).collect();
    let heading = "## Why a relay carries main or sub";
    is_generated("deploy/reference/reasons.md", heading, &rows);
}

#[test]
fn the_reference_says_every_fault_that_the_front_corrects() {
    let row = |fix: &Fix| format!("| `{}` | {} |", fix.as_str(), fix.sentence());
    let rows: Vec<String> = Fix::ALL.iter().map(row).collect();
    let heading = "## Faults that the camera front corrects";
    is_generated("deploy/reference/cameras.md", heading, &rows);
}

#[test]
fn the_map_names_files_that_are_there() {
    let map = std::fs::read_to_string(tree("src/README.md")).unwrap();
    let quoted = map.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| text.contains('/') && !text.contains([' ', '=', '<']));
    let mut seen = 0;
    for path in paths {
        let is_there = ["", "src"]
            .iter()
            .any(|from| tree(from).join(path).exists());
        assert!(is_there, "src/README.md: {path}");
        seen += 1;
    }
    assert!(seen > 20, "only {seen} paths");
}

/// How GitHub names a heading in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.replace(' ', "-");
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}

/// The targets of a paper's links and pictures.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

#[test]
fn every_link_between_papers_leads_somewhere() {
    let tops = ["README.md", "CHANGELOG.md"].map(|name| {
        let path = tree(name);
        let text = std::fs::read_to_string(&path).unwrap();
        (path.display().to_string(), text)
    });
    let folders = ["benches", "certs", "deploy", "src"];
    let below = folders.iter().flat_map(|folder| files(folder, ".md"));
    let mut seen = 0;
    for (path, text) in below.chain(tops) {
        for target in links(&text).filter(|target| !target.contains("://")) {
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let led = match file {
                "" => PathBuf::from(&path),
                file => Path::new(&path).parent().unwrap().join(file),
            };
            assert!(led.exists(), "{path}: {target}");
            if !section.is_empty() {
                let led = std::fs::read_to_string(led).unwrap();
                let mut headings = led.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|heading| anchor(heading) == section);
                assert!(found, "{path}: {target}");
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} links");
}

#[test]
fn the_readme_is_short_and_begins_with_what_ci_runs() {
    let readme = std::fs::read_to_string(tree("README.md")).unwrap();
    assert!(readme.lines().count() <= 150, "{}", readme.lines().count());
    let commands: Vec<&str> = readme
        .lines()
        .skip(2)
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    assert_eq!(commands, ["cargo run --release -- demo", "cargo test"]);
    let ci = std::fs::read_to_string(tree(".ci/run")).unwrap();
    assert!(ci.contains("\nstep \"test\" timeout --verbose --kill-after 30 3600 cargo test\n"));
    assert!(ci.contains("\nstep \"demo\" cargo run --locked --release -- demo --for 20s\n"));
}

#[test]
fn no_private_key_is_in_the_tree() {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(tree(""))
        .output();
    let Ok(listed) = listed else {
        crate::tools::skipped(format_args!("git not found"));
        return;
    };
    for name in listed.stdout.split(|byte| *byte == 0) {
        let name = std::str::from_utf8(name).unwrap();
        let Ok(bytes) = std::fs::read(tree(name)) else {
            continue;
        };
        let marker: &[u8] = b"PRIVATE KEY-----\n";
        let found = bytes.windows(marker.len()).any(|window| window == marker);
        assert!(!found, "{name} holds a private key");
    }
}

#[test]
fn the_top_level_stays_small() {
    const KNOWN: &[&str] = &[
        ".ci",
        ".git",
        ".gitignore",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "benches",
        "certs",
        "demo-state",
        "proptest-regressions",
        "deploy",
        "src",
        "target",
        "tests",
    ];
    // target, demo-state and proptest-regressions are ignored by git.
    for entry in std::fs::read_dir(tree("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(KNOWN.contains(&name.as_str()), "{name} has another home");
    }
}

/// What `fanal check` prints, in English: each sentence of these has a row in French.
const CHECKED: &[&str] = &[
    "src/config",
    "src/pki",
    "src/commands/check",
    "src/commands/check.rs",
    "src/connect.rs",
    "src/link/probe.rs",
    "src/link/reach.rs",
    "src/format/ids.rs",
    "src/policy/camera.rs",
    "src/gateway/probe.rs",
    "src/gateway/cause.rs",
    "src/gateway/host.rs",
    "src/gateway/session.rs",
    "src/gateway/onvif.rs",
    "src/gateway/front/challenge.rs",
    "src/gateway/front/dialogue.rs",
    "src/gateway/front/fix.rs",
    "src/gateway/front/description.rs",
    "src/gateway/front/message.rs",
    "src/gateway/front/pictures",
];

/// Sentences of those files that `fanal check` does not print, or that are names.
const UNTRANSLATED: &[&str] = &[
    "src/config/grounds.rs",
    "src/config/camera.rs: {} {}; write such as",
    "src/config/camera.rs: line-N is an id",
    "src/config/csv.rs: to fix",
    "src/config/section.rs: unknown field",
    "src/gateway/session.rs: its host has no session left",
    "src/config/section.rs: missing field",
    "src/commands/check.rs: Example: check the settings",
    "src/commands/check.rs: fanal check",
    "src/commands/check.rs: Where a gateway runs",
    "src/commands/check.rs: Exit status: ",
    "src/commands/check.rs: centre failed; 2",
    "src/commands/check/cameras.rs: fanal {}: the dialogue",
    "src/commands/check/cameras.rs: a trial broke off",
    "src/commands/check/discover.rs: name;main",
    "src/gateway/front/pictures/tests/",
    "src/gateway/onvif.rs: ONVIF not prepared",
    "src/gateway/onvif.rs: a key frame ",
    "src/gateway/onvif.rs: no key frame over ONVIF",
    "src/gateway/onvif.rs: no such profile",
    "src/link/probe.rs: {}: {} is dropped on the way",
    "src/link/probe.rs: {}, less than max_bitrate",
    // Of a library's errors.
    "src/link/probe.rs: not valid yet",
    "src/link/probe.rs: unknown ",
    "src/link/reach.rs: link not regained",
    "src/pki.rs",
];

/// The texts in quotes of a source file, as they are printed: `{}` where something is filled in.
fn texts(source: &str) -> Vec<String> {
    let end = source
        .find("#[cfg(test)]\nmod tests")
        .unwrap_or(source.len());
    // An address in a text has two slashes too.
    let lines = source[..end].lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    let lines: Vec<&str> = lines
        .map(|line| line.split(" // ").next().unwrap_or(line))
        .collect();
    let source: Vec<char> = lines.join("\n").chars().collect();
    let mut texts = Vec::new();
    let mut at = 0;
    while at < source.len() {
        // A quote as a character is no beginning: '"', '\"'.
        let is_character = at > 0 && matches!(source[at - 1], '\'' | '\\');
        at += 1;
        if source[at - 1] != '"' || is_character {
            continue;
        }
        let mut text = String::new();
        while let Some(c) = source.get(at).filter(|c| **c != '"') {
            at += 1;
            if *c != '\\' {
                text.push(*c);
                continue;
            }
            let escaped = source.get(at).copied().unwrap_or_default();
            at += 1;
            match escaped {
                'n' => text.push('\n'),
                // The text goes on after the next line's indent.
                '\n' => {
                    at += source[at..]
                        .iter()
                        .take_while(|c| c.is_whitespace())
                        .count()
                }
                other => text.push(other),
            }
        }
        at += 1;
        texts.push(plain_places(&text));
    }
    texts
}

/// `{name:?}` as `{}`, `{{` as `{`.
fn plain_places(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        plain.push(c);
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
            }
            '{' => {
                chars.by_ref().take_while(|c| *c != '}').for_each(drop);
                plain.push('}');
            }
            _ => {}
        }
    }
    plain
}

#[test]
fn all_that_check_says_is_there_in_french() {
    let rows = french::rows();
    let known: Vec<String> = rows.iter().map(|row| row.english.to_owned()).collect();
    let mut said = std::collections::BTreeSet::new();
    let mut missing = Vec::new();
    let root = format!("{}/", env!("CARGO_MANIFEST_DIR"));
    for (path, text) in sources() {
        let path = path.strip_prefix(&root).unwrap();
        let is_checked =
            CHECKED.iter().any(|at| path.starts_with(at)) && !path.ends_with("tests.rs");
        for text in texts(&text).iter().flat_map(|text| text.split('\n')) {
            let text = text.trim();
            let is_sentence = text
                .split(' ')
                .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase()))
                .count()
                > 1;
            let place = format!("{path}: {text}");
            let is_left = UNTRANSLATED.iter().any(|left| place.starts_with(left));
            if is_checked
                && is_sentence
                && !is_left
                && !known.iter().any(|row| row == text || row.contains(text))
            {
                missing.push(place);
            }
            said.insert(text.to_owned());
        }
    }
    assert!(
        missing.is_empty(),
        "add to src/commands/french.txt, in English and French, or name in UNTRANSLATED:\n{}",
        missing.join("\n")
    );
    // A row is a sentence of the code, or made of some.
    let whole: String = said.iter().map(|text| format!("{text}\n")).collect();
    let of_system = known
        .iter()
        .position(|row| row.starts_with("No such file"))
        .unwrap();
    for row in &known[..of_system] {
        let parts = row.split("; ").flat_map(|part| part.split(": "));
        let mut parts = parts.flat_map(|part| part.split(", "));
        let found = whole.contains(row.as_str())
            || parts.all(|part| whole.contains(part.trim_start_matches("{} ")));
        assert!(found, "no code says: {row}");
    }
}
