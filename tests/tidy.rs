//! The rules of the house that a compiler can't see: layering, fences, sizes.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;
/// How far above its block a SAFETY sentence may begin.
const SAFETY_DISTANCE: usize = 4;

/// A source file, by its path from the root.
struct Source {
    path: String,
    text: String,
}

fn sources(under: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = under.iter().map(|name| root.join(name)).collect();
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let path = path.strip_prefix(root).expect("it is below");
                all.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    assert!(!all.is_empty(), "no sources under {under:?}");
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

impl Source {
    fn is_under(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.']))
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("tests.rs")
    }

    /// The code with its line numbers: no comments, no strings' contents, nothing of the unit tests,
    /// which stand last.
    fn code(&self) -> Vec<(usize, String)> {
        let mut code = Vec::new();
        if self.is_test() {
            return code;
        }
        let mut in_string = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            let tests = line.trim() == "#[cfg(test)]"
                && self.text.lines().nth(number).is_some_and(|next| next.trim() == "mod tests {");
            if tests {
                break;
            }
            code.push((number, bare(line, &mut in_string)));
        }
        code
    }

    /// Complains of each line of code that `is_wrong` finds wrong.
    fn complain(&self, rule: &str, complaints: &mut Vec<String>, is_wrong: impl Fn(&str) -> bool) {
        for (number, line) in self.code() {
            if is_wrong(&line) {
                complaints.push(format!("{}:{number}: {rule}: {}", self.path, line.trim()));
            }
        }
    }
}

/// A line without its comment and without what its strings hold. Strings may go on over lines.
fn bare(line: &str, in_string: &mut bool) -> String {
    let mut out = String::new();
    let mut rest = line.chars().peekable();
    while let Some(character) = rest.next() {
        match (*in_string, character) {
            (true, '\\') => drop(rest.next()),
            (true, '"') => *in_string = false,
            (true, _) => {}
            (false, '/') if rest.peek() == Some(&'/') => return out,
            (false, '\'') => char_literal(&mut rest, &mut out),
            (false, '"') => *in_string = true,
            (false, other) => out.push(other),
        }
    }
    out
}

/// Skips `'x'` and `'\''`; a lifetime stays.
fn char_literal(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let ahead: Vec<char> = rest.clone().take(3).collect();
    match ahead.as_slice() {
        ['\\', ..] => {
            rest.next();
            rest.next();
            // To the closing quote: an escape may be long.
            while rest.next_if(|character| *character != '\'').is_some() {}
            rest.next();
        }
        [_, '\'', ..] => drop((rest.next(), rest.next())),
        _ => out.push('\''),
    }
}

/// Whether `code` names this word, whole.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part) && (!after.is_some_and(part) || word.ends_with("::"))
    })
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

const PURE: [&str; 17] = [
    "src/balance/backends",
    "src/balance/exchange",
    "src/balance/health",
    "src/balance/http",
    "src/balance/origin",
    "src/balance/plan",
    "src/balance/random",
    "src/balance/timers",
    "src/protocol",
    "src/supervisor",
    "src/init",
    "src/sweep",
    "src/plan",
    "src/units",
    "src/pid_map",
    "src/names",
    "src/error",
];

#[test]
fn pure_parts_name_nothing_that_has_effects() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        if PURE.iter().any(|part| source.is_under(part)) {
            for word in ["sys", "std::", "rustix", "event_loop", "cli"] {
                let rule = format!("a pure part names {word}");
                source.complain(&rule, &mut complaints, |line| names(line, word));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn sys_names_none_of_ours_but_the_error() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| source.is_under("src/sys")) {
        source.complain("sys names another part", &mut complaints, |line| {
            let ours = line.match_indices("crate::").map(|(at, _)| &line[at + 7..]);
            ours.into_iter().any(|path| !path.starts_with("error") && !path.starts_with("sys::"))
        });
    }
    assert_none(&complaints);
}

#[test]
fn only_the_command_line_knows_the_command_line() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        let may = source.is_under("src/cli")
            || ["src/lib.rs", "src/main.rs", "src/sys/entry.rs"].contains(&source.path.as_str());
        if !may {
            source.complain("names cli", &mut complaints, |line| names(line, "cli"));
        }
    }
    assert_none(&complaints);
}

#[test]
fn unsafe_stays_in_its_fence_and_gives_its_reason() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        if !source.is_under("src/sys") {
            source.complain("unsafe outside sys", &mut complaints, |line| names(line, "unsafe"));
        }
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, code) in source.code() {
            let first = number.saturating_sub(SAFETY_DISTANCE + 1);
            let told = lines[first..number].iter().any(|line| line.contains("// SAFETY: "));
            if code.contains("unsafe {") && !told {
                complaints.push(format!("{}:{number}: no SAFETY sentence", source.path));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn time_is_asked_in_one_place() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        // The seed is time, too, but nothing is decided by it.
        if !["src/sys/clock.rs", "src/sys/process.rs"].contains(&source.path.as_str()) {
            for word in ["clock_gettime", "Instant", "SystemTime"] {
                source.complain("asks for the time", &mut complaints, |line| names(line, word));
            }
        }
        source.complain("waits for a while", &mut complaints, |line| names(line, "sleep"));
    }
    for source in sources(&["tests"]) {
        let sleeps = concat!("thread::", "sleep");
        if source.text.contains(sleeps) {
            complaints.push(format!("{}: {sleeps}: wait for a fact", source.path));
        }
    }
    assert_none(&complaints);
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut complaints = Vec::new();
    for source in sources(&["src", "tests"]) {
        let lines = source.text.lines().count();
        if !source.text.starts_with("//! ") {
            complaints.push(format!("{}: does not open with //!", source.path));
        }
        if lines > FILE_LINES_MAX {
            complaints.push(format!("{}: {lines} lines", source.path));
        }
    }
    assert_none(&complaints);
}

#[test]
fn functions_stay_short() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        let code = source.code();
        for (index, (number, line)) in code.iter().enumerate() {
            if !names(line, "fn") || !line.contains('(') {
                continue;
            }
            let lines = function_lines(code[index..].iter().map(|(_, line)| line.as_str()));
            if lines > FUNCTION_LINES_MAX {
                complaints.push(format!("{}:{number}: {lines} lines", source.path));
            }
        }
    }
    assert_none(&complaints);
}

/// From its first line to the brace that ends it; 0 for a declaration without a body.
fn function_lines<'a>(lines: impl Iterator<Item = &'a str>) -> usize {
    let (mut depth, mut parentheses) = (0, 0);
    for (count, line) in (1..).zip(lines) {
        for character in line.chars() {
            match character {
                '(' | '[' => parentheses += 1,
                ')' | ']' => parentheses -= 1,
                '{' => depth += 1,
                '}' if depth == 1 => return count,
                '}' => depth -= 1,
                ';' if depth == 0 && parentheses == 0 => return 0,
                _ => {}
            }
        }
    }
    0
}

#[test]
fn nothing_is_left_unfinished_or_taken_for_granted() {
    let mut complaints = Vec::new();
    for source in sources(&["src"]) {
        for word in
            ["unwrap()", "dbg!", "println!", "eprintln!", "print!", "todo!", "unimplemented!"]
        {
            let rule = format!("{word} in the program");
            source.complain(&rule, &mut complaints, |line| line.contains(word));
        }
    }
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for source in sources(&["src", "tests"]) {
        for (number, line) in (1..).zip(source.text.lines()) {
            if unfinished.iter().any(|word| names(line, word)) {
                complaints.push(format!("{}:{number}: unfinished: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn the_core_depends_on_three_crates() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = fs::read_to_string(manifest).expect("it is text");
    let section = text.split("\n[dependencies]\n").nth(1).expect("there are dependencies");
    let section = section.split("\n[").next().unwrap_or(section);
    let needed = section.lines().filter(|line| !line.contains("optional = true"));
    let mut crates: Vec<&str> = needed
        .filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()))
        .filter_map(|line| line.split([' ', '=', '.']).next())
        .collect();
    crates.sort_unstable();
    assert_eq!(crates, ["lexopt", "libc", "rustix"]);
    for table in ["[target.", "[dependencies.", "[build-dependencies"] {
        assert!(!text.contains(&format!("\n{table}")), "{table}: a fourth way in");
    }
}

/// Every `path/to/file.rs` and `folder/` of src, tests and scripts that the map names is there.
#[test]
fn the_map_shows_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Ok(map) = fs::read_to_string(root.join("ARCHITECTURE.md")) else { return };
    let separators = |c: char| !(c.is_alphanumeric() || "_-./".contains(c));
    let words = map.split(separators).map(|word| word.trim_end_matches('.'));
    let paths = words.filter(|word| {
        ["src/", "tests/", "scripts/"].iter().any(|room| word.starts_with(room) && word != room)
    });
    let missing: Vec<String> =
        paths.filter(|path| !root.join(path).exists()).map(str::to_string).collect();
    assert_none(&missing);
}
