//! One CA and one store: the commands of a user find the proxy that runs, wherever they are typed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::origin::{Act, RawOrigin};
use crate::support::program::Folder;

/// A user's home, with a clone that has settings of its own and another folder.
struct Home(Folder);

/// The proxy that runs in the clone. Killed when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SETTINGS: &str =
    "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'certs'\n[store]\npath = 'data/e.db'\n";

impl Home {
    fn new() -> Self {
        let home = Folder::new();
        for name in ["clone", "elsewhere"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        std::fs::write(home.path().join("clone/proxy.toml"), SETTINGS).unwrap();
        Self(home)
    }

    fn program(&self, folder: &str) -> Command {
        let mut program = self.0.program();
        program.env_remove("OTAS_PROXY_CONFIG").current_dir(self.0.path().join(folder));
        program
    }

    fn run(&self, folder: &str, arguments: &[&str]) -> Output {
        self.program(folder).args(arguments).output().unwrap()
    }

    fn serve(&self) -> Serving {
        self.serve_in("clone")
    }

    fn serve_in(&self, folder: &str) -> Serving {
        let mut child =
            self.program(folder).arg("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("events are stored in")), "it says where its events are");
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Serving(child)
    }

    fn path(&self, path: &str) -> String {
        self.0.path().canonicalize().unwrap().join(path).display().to_string()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_elsewhere_use_the_ca_and_the_store_of_the_proxy_that_runs() {
    let origin = RawOrigin::start(vec![Act::Write(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]).await;
    let url = format!("http://{}/found", origin.addr);
    let checked = tokio::task::spawn_blocking(move || {
        let home = Home::new();
        let serving = home.serve();
        let (certs, store) = (home.path("clone/certs"), home.path("clone/data/e.db"));
        let usual = home.path(".local/share/otas-proxy/ca");

        // `env` names this proxy and its CA, and says so; no second CA is made.
        let env = home.run("elsewhere", &["env", "--include-localhost"]);
        let (variables, told) = (String::from_utf8(env.stdout).unwrap(), String::from_utf8(env.stderr).unwrap());
        assert!(variables.contains(&format!("SSL_CERT_FILE='{certs}/bundle.pem'")), "{variables}{told}");
        assert!(told.contains(&certs) && told.contains(&usual), "both CAs are named: {told}");
        assert!(!Path::new(&usual).exists());
        let script = format!("{variables}\ncurl -sS -o /dev/null {url}");
        let called = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(called.status.success(), "{called:?}");

        // `events` and `stats` show the call.
        let mut events = String::new();
        for _ in 0..600 {
            events = said(&home.run("elsewhere", &["events"]));
            if events.contains("/found") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(events.contains("/found") && events.contains(&store), "{events}");
        assert!(said(&home.run("elsewhere", &["stats"])).contains(&store));

        // `ca` shows its CA, and `check` says that settings here name others.
        assert!(said(&home.run("elsewhere", &["ca", "show"])).contains(&format!("{certs}/ca.pem")));
        let check = said(&home.run("elsewhere", &["check", "store", "ca"]));
        assert!(check.contains("running proxy") && check.contains(&certs) && check.contains(&usual), "{check}");
        assert!(!Path::new(&usual).exists());

        // Another CA, named, would make every HTTPS call fail.
        let refused = home.run("elsewhere", &["env", "--ca-dir", "other"]);
        let told = said(&refused);
        assert!(!refused.status.success() && told.contains(&certs) && told.contains("elsewhere/other"), "{told}");

        // Another proxy, named, is another matter.
        let free = home.run("elsewhere", &["env", "--listen-proxy", "127.0.0.1:18080"]);
        assert!(said(&free).contains("127.0.0.1:18080"), "{}", said(&free));

        // When it has gone, a file that it left misleads nobody.
        drop(serving);
        assert!(!said(&home.run("elsewhere", &["events"])).contains("/found"));
        home
    });
    let home = checked.await.unwrap();
    // There is a CA in the usual place now: none is made beside it in silence.
    std::fs::remove_dir_all(home.0.path().join("clone/certs")).unwrap();
    let refused = home.run("clone", &["env", "--listen-proxy", "127.0.0.1:18080"]);
    let told = said(&refused);
    assert!(!refused.status.success(), "{told}");
    assert!(told.contains("clone/certs") && told.contains(".local/share/otas-proxy/ca"), "{told}");
    assert!(!home.0.path().join("clone/certs").exists());
    let check = said(&home.run("clone", &["check", "ca"]));
    assert!(check.contains("clone/certs") && check.contains(".local/share/otas-proxy/ca"), "{check}");
    let made = said(&home.run("clone", &["run", "--", "true"]));
    assert!(made.contains("a new CA was made in") && made.contains(".local/share/otas-proxy/ca"), "{made}");
}

#[test]
fn with_two_proxies_no_command_guesses_which_is_meant() {
    let home = Home::new();
    std::fs::write(home.0.path().join("elsewhere/proxy.toml"), SETTINGS).unwrap();
    std::fs::create_dir(home.0.path().join("third")).unwrap();
    let _serving = [home.serve_in("clone"), home.serve_in("elsewhere")];
    let stores = [home.path("clone/data/e.db"), home.path("elsewhere/data/e.db")];
    for command in ["env", "page", "events", "stats", "flush"] {
        let output = home.run("third", &[command]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{command}: {told}");
        assert!(
            stores.iter().all(|store| told.contains(store)) && told.contains("--listen-proxy"),
            "{command}: {told}"
        );
        assert!(output.stdout.is_empty(), "{command}: {told}");
    }
    let named = |command: &str| home.run("third", &[command, "--store-path", &stores[1]]);
    let (env, page) = (named("env"), named("page"));
    assert!(env.status.success() && said(&env).contains(&home.path("elsewhere/certs")), "{}", said(&env));
    assert!(page.status.success() && said(&page).contains("http://127.0.0.1:"), "{}", said(&page));
    let check = home.run("third", &["check", "ports"]);
    assert!(said(&check).contains("2 of your proxies are running"), "{}", said(&check));
}
