//! What the shells offer besides the grammar: the ids of jobs, the keys of alerts, the names of packages.

use clap_complete::Shell;

/// The verbs that name a job.
const JOB_VERBS: &str = "log wait cancel rollback resolve forget";

/// The verbs that name packages.
const PACKAGE_VERBS: &str = "apply plan";

/// The alerts that a person can end.
const KEYS: &str = "all update-failed rolled-back self-update-failed";

/// The shell commands that print them, one a line: of the host that the command line is on.
const JOBS: &str = "patchctl jobs --limit 50 2>/dev/null | sed -n '2,$s/ .*//p'";
const PACKAGES: &str = "{ echo all; echo security; dpkg-query -W -f '${Package}\\n' || rpm -qa --qf '%{NAME}\\n' || \\
        pacman -Qq || apk info; } 2>/dev/null";

/// A script of clap with these values in it.
pub fn with_values(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        _ => fish(script),
    }
}

/// The function of clap completes verbs and options; what comes behind a verb and is no option is a value.
fn bash(script: &str) -> String {
    let script = script.replace("-F _patchctl ", "-F _patchctl_with_values ");
    format!(
        "{script}
_patchctl_with_values() {{
    local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" verb= word values=
    _patchctl \"$@\"
    [[ $cur == -* ]] && return
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        [[ \" {JOB_VERBS} {PACKAGE_VERBS} acknowledge \" == *\" $word \"* ]] && {{ verb=$word; break; }}
    done
    [[ -n $verb && ${{COMP_WORDS[COMP_CWORD-1]}} != --* ]] || return
    if [[ \" {JOB_VERBS} \" == *\" $verb \"* ]]; then
        values=$({JOBS})
    elif [[ $verb == acknowledge ]]; then
        values='{KEYS}'
    else
        values=$({PACKAGES})
    fi
    mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$cur\")
}}
"
    )
}

/// A value that clap knows nothing of is `:_default` there.
fn zsh(script: &str) -> String {
    let lines = script.lines().map(|line| {
        let argument = line.trim_start().trim_start_matches(['\'', '*', ':']);
        let function = match argument.split(' ').next() {
            Some("job") => "_patchctl_job_ids",
            Some("packages") => "_patchctl_package_names",
            Some("key") => "_patchctl_alert_keys",
            _ => return line.to_owned(),
        };
        line.replace(":_default'", &format!(":{function}'"))
    });
    let script = lines.collect::<Vec<_>>().join("\n");
    let functions = format!(
        "
_patchctl_job_ids() {{ compadd -- ${{(f)\"$({JOBS})\"}} }}
_patchctl_alert_keys() {{ compadd -- {KEYS} }}
_patchctl_package_names() {{ compadd -- ${{(f)\"$({PACKAGES})\"}} }}

"
    );
    // the first line names the command; the last ones call the function
    match script.split_once('\n') {
        Some((first, rest)) => format!("{first}\n{functions}{rest}\n"),
        None => script,
    }
}

fn fish(script: String) -> String {
    let values = [
        (
            JOB_VERBS,
            r#"patchctl jobs --limit 50 2>/dev/null | string match -rv "^JOB" | string replace -r " .*" """#.to_owned(),
        ),
        (
            PACKAGE_VERBS,
            r#"echo all; echo security; begin; dpkg-query -W -f "\${Package}\n"; or rpm -qa --qf "%{NAME}\n"; or pacman -Qq; or apk info; end 2>/dev/null"#
                .to_owned(),
        ),
        ("acknowledge", format!("string split \" \" \"{KEYS}\"")),
    ];
    let of = |(verbs, values): (&str, String)| {
        format!(
            "complete -c patchctl -n '__fish_seen_subcommand_from {verbs}' -f -a '({values})'\n"
        )
    };
    values
        .into_iter()
        .map(of)
        .fold(script, |script, line| script + &line)
}
