//! How soon the front ends answer, measured inside the host beside services that do the same without this program.

use lab::{Host, Spawned};

use crate::judge::{self, Sample, Violation};

/// Asks a service of systemd's and the D-Bus service, a twin of the Varlink service and that one, in turn. A line for
/// each: the time before and after, in seconds, the exit status, and the words of an error.
const PROBE: &str = r#"
ask() {
    local begin=$EPOCHREALTIME words status end
    words=$("${@:2}" 2>&1 >/dev/null); status=$?; end=$EPOCHREALTIME
    printf '%s %s %s %s %s\n' "$1" "$begin" "$end" "$status" "${words//$'\n'/ }"
}
while :; do
    ask 0 busctl --timeout=120 get-property org.freedesktop.hostname1 /org/freedesktop/hostname1 org.freedesktop.hostname1 Hostname
    ask 1 busctl --timeout=120 get-property org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1 Health
    ask 2 python3 /run/call.py /run/twin.sock
    ask 3 python3 /run/call.py /run/linux_patch_api/request.sock
    sleep 0.1
done
"#;

/// Calls a method without parameters, and reads what is answered.
const CALL: &str = r#"
import json, socket, sys
front_end = socket.socket(socket.AF_UNIX)
front_end.settimeout(120)
front_end.connect(sys.argv[1])
front_end.sendall(b'{"method":"org.linux-patch.Agent1.GetHealth"}\0')
answer = b""
while not answer.endswith(b"\0"):
    part = front_end.recv(65536)
    if not part:
        sys.exit(f"the connection ended after {answer!r}")
    answer += part
if "error" in json.loads(answer[:-1]):
    sys.exit(answer.decode())
"#;

/// A service that does nothing: what comes in goes out again. A process in the same sandbox serves each connection.
const TWIN: &str = "\
    sed -e 's|^ExecStart=.*|ExecStart=/usr/bin/cat|' -e 's|^StandardOutput=.*|StandardOutput=socket|' \
        /usr/lib/systemd/system/patch-request@.service >/etc/systemd/system/twin@.service && \
    printf '[Socket]\\nListenStream=/run/twin.sock\\nAccept=yes\\nTriggerLimitIntervalSec=0\\n' \
        >/etc/systemd/system/twin.socket && \
    systemctl daemon-reload && systemctl start twin.socket";

/// The front ends: their names, their numbers above, and those of what they are compared with.
const FRONT_ENDS: [(&str, usize, usize); 2] = [("the D-Bus service", 1, 0), ("Varlink", 3, 2)];

/// All that was measured.
#[derive(Default)]
pub struct FrontEnds {
    samples: [Vec<Sample>; 2],
}

impl FrontEnds {
    /// Begins to ask.
    pub fn begin(host: &Host) -> Spawned {
        host.write("/run/probe.bash", PROBE);
        host.write("/run/call.py", CALL);
        host.sh(TWIN);
        host.spawn("exec bash /run/probe.bash")
    }

    /// Stops, and judges what was measured.
    pub fn end(&mut self, probe: Spawned) -> Vec<Violation> {
        let said = probe.kill().stdout;
        let answers: Vec<Answer> = said.lines().filter_map(Answer::parse).collect();
        let mut violations = Vec::new();
        for ((name, front_end, other), all) in FRONT_ENDS.into_iter().zip(&mut self.samples) {
            let of_front_end = answers
                .iter()
                .filter(|answer| answer.front_end == front_end);
            let failed: Vec<&Answer> = of_front_end.filter(|answer| answer.status != 0).collect();
            if let Some(Answer { status, words, .. }) = failed.first() {
                let what = format!(
                    "{name} failed {} times, first: {status} {words}",
                    failed.len()
                );
                violations.push(Violation::new(what, &[]));
            }
            let samples = samples(&answers, front_end, other);
            violations.extend(judge::front_ends(name, &samples));
            all.extend(samples);
        }
        violations
    }

    /// What was measured, in a line for each front end.
    pub fn shown(&self) -> String {
        let line = |((front_end, ..), samples): ((&str, usize, usize), &Vec<Sample>)| {
            let (middle, worst) = judge::spread(samples.iter().map(|sample| sample.ours * 1e3));
            let (other, others) = judge::spread(samples.iter().map(|sample| sample.other * 1e3));
            format!(
                "{front_end}: {} answers, median {middle:.0} ms, worst {worst:.0} ms; \
                 its equal {other:.0} ms and {others:.0} ms\n",
                samples.len()
            )
        };
        FRONT_ENDS
            .into_iter()
            .zip(&self.samples)
            .map(line)
            .collect()
    }
}

/// An answer, by the number of the service that gave it.
struct Answer {
    front_end: usize,
    seconds: f64,
    status: i32,
    words: String,
}

impl Answer {
    /// The last line may be a part of one.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let front_end = words.next()?.parse().ok()?;
        let [begin, end] = [words.next()?, words.next()?].map(|time| time.parse::<f64>().ok());
        Some(Self {
            front_end,
            seconds: end? - begin?,
            status: words.next()?.parse().ok()?,
            words: words.next()?.to_owned(),
        })
    }
}

/// What a front end took, beside what the other service took right before.
fn samples(answers: &[Answer], front_end: usize, other: usize) -> Vec<Sample> {
    let pairs = answers.windows(2);
    pairs
        .filter(|pair| {
            pair[0].front_end == other && pair[1].front_end == front_end && pair[0].status == 0
        })
        .map(|pair| Sample {
            ours: pair[1].seconds,
            other: pair[0].seconds,
        })
        .collect()
}
