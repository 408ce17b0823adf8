//! The files for Docker Compose and for Kubernetes, judged by the schemas of both.

use super::{COMPOSE, KUBERNETES, README};
use crate::harness::{Folder, command};
use crate::servers::program;
use crate::world::skip;

/// A program, and the words before the file's name.
type Judge = (String, Vec<String>);

fn judge(name: &str, words: &[&str]) -> Option<Judge> {
    let program = program(name)?.into_os_string().into_string().expect("the path is text");
    Some((program, words.iter().map(|word| word.to_string()).collect()))
}

/// What is wrong with a file of these contents.
fn complaint((program, words): &Judge, contents: &str) -> Option<String> {
    let folder = Folder::new();
    let file = folder.file("manifest.yaml", contents, 0o644);
    let output = command(program).args(words).arg(file).output().expect("it was found");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains("Traceback"), "{said}");
    (!output.status.success()).then_some(said)
}

/// Each of the mistakes must be found, or that there is no other means nothing.
fn is_valid(judge: &Judge, contents: &str, mistakes: &[(&str, &str, &str)]) {
    assert_eq!(complaint(judge, contents), None);
    for (right, wrong, said) in mistakes {
        assert!(contents.contains(right), "{right}");
        let found = complaint(judge, &contents.replacen(right, wrong, 1)).unwrap_or_default();
        assert!(found.contains(said), "{wrong}: {found:?}");
    }
}

fn compose_of_the_readme() -> String {
    let lines = README.lines().skip_while(|line| *line != "    services:");
    let lines = lines.map_while(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_compose_files_are_what_compose_takes() {
    let words = ["--builtin-schema", "vendor.compose-spec"];
    let Some(judge) = judge("check-jsonschema", &words) else { return };
    let mistakes = [
        ("read_only:", "readonly:", "'readonly' was unexpected"),
        ("cap_drop: [ALL]", "cap_drop: ALL", "services.web.cap_drop: 'ALL' is not of type"),
    ];
    is_valid(&judge, COMPOSE, &mistakes);
    is_valid(&judge, &compose_of_the_readme(), &[]);
}

#[test]
fn docker_compose_understands_them() {
    let plugin = command("docker").args(["compose", "version"]).output();
    let mut compose = match plugin {
        Ok(output) if output.status.success() => vec!["docker", "compose"],
        _ => vec!["docker-compose"],
    };
    compose.extend(["--file", "compose.yaml", "config"]);
    let readme = compose_of_the_readme();
    let wrong = COMPOSE.replace("read_only:", "readonly:");
    for (contents, is_valid, told) in [
        (COMPOSE, true, "read_only: true"),
        (&readme, true, "read_only: true"),
        (&wrong, false, "readonly"),
    ] {
        let folder = Folder::new();
        folder.file("compose.yaml", contents, 0o644);
        let mut config = command(compose[0]);
        let output = config.args(&compose[1..]).current_dir(folder.path("")).output();
        let Ok(output) = output else { return skip("Docker Compose is not here") };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!((output.status.success(), said.contains(told)), (is_valid, true), "{said}");
    }
}

#[test]
fn the_file_for_kubernetes_is_what_kubernetes_takes() {
    let first = ["--strict", "--kubernetes-version", "1.30"];
    let Some(first) = judge("kubernetes-validate", &first) else { return };
    let mistakes = [
        ("terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: soon", "'soon'"),
        (
            "httpGet: {path: /readyz, port: metrics}",
            "httpGet: {path: /}",
            "'port' is a required property",
        ),
        ("command: [\"/fd3\", \"check\"", "run: [\"/fd3\", \"check\"", "'run' was unexpected"),
        ("targetPort: 8080", "targetport: 8080", "'targetport' was unexpected"),
    ];
    is_valid(&first, KUBERNETES, &mistakes);
    // The newest that it knows, and the last one without a sleep of the kubelet's own.
    let newest = judge("kubernetes-validate", &["--strict"]).expect("it is there");
    is_valid(&newest, KUBERNETES, &[]);
    let before = ["--strict", "--kubernetes-version", "1.28"];
    let before = judge("kubernetes-validate", &before).expect("it is there");
    let said = complaint(&before, KUBERNETES).unwrap_or_default();
    assert!(said.contains("'sleep' was unexpected"), "{said:?}");
}
