//! A ledger of one validator for the flavour `dev`, made with the host's `stele`: keys in a SoftHSM2 token, genesis, and the
//! configuration of a machine behind QEMU's own network. For booting and for tests; nothing in it is secret.

use crate::failure::Failure;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Where the validators of a ledger are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The validator's name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its ports: validators', clients', RPC.
    pub ports: [u16; 3],
    /// What it runs on.
    pub home: Home,
    /// Where its keys are.
    pub keys: Keys,
}

/// Where a validator's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// In a SoftHSM2 token, which the flavour `validator` cannot read.
    Token,
    /// In an encrypted file.
    File,
}

/// What a validator runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// A machine with the image, to which its folder is brought as a configuration.
    Image,
    /// The host, out of its folder.
    Host,
}

/// The address of a machine behind QEMU's own network.
pub const ADDRESS: &str = "10.0.2.15";
/// The ports of a validator that has an address to itself.
pub const PORTS: [u16; 3] = [7100, 7200, RPC_PORT];
/// The port of its RPC.
pub const RPC_PORT: u16 = 7300;

/// Makes the folder of one machine's configuration: a ledger of its own, with accounts as `stele genesis --account` takes
/// them.
pub fn alone(stele: &Path, folder: &Path, more: &str, accounts: &[String], keys: Keys) -> Result<(), Failure> {
    let place = Place { name: "image-0".into(), address: ADDRESS.into(), ports: PORTS, home: Home::Image, keys };
    let scratch = folder.with_added_extension("genesis");
    ledger(stele, &scratch, &[(place, folder)], accounts)?;
    let machine =
        format!("address = {ADDRESS}/24\ngateway = 10.0.2.2\nrpc = {ADDRESS}:{RPC_PORT}\nname = image-0\n{more}");
    write(&folder.join("machine.conf"), &machine)
}

/// Makes keys and configurations of several validators of one ledger, each in a folder with `signer` and `node` below it.
pub fn ledger(stele: &Path, scratch: &Path, places: &[(Place, &Path)], accounts: &[String]) -> Result<(), Failure> {
    let validators = scratch.join("validators");
    make(&validators)?;
    for (place, folder) in places {
        make(&folder.join("signer"))?;
        make(&folder.join("node"))?;
        let signer = folder.join("signer");
        let so_pin = std::path::absolute(scratch.join(format!("{}.so-pin", place.name)));
        let so_pin = so_pin.map_err(Failure::io("finding the genesis"))?.display().to_string();
        write(Path::new(&so_pin), "00000000")?;
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&so_pin, own).map_err(Failure::io(format!("guarding {so_pin}")))?;
        let none = format!("sha256:{}", "0".repeat(64));
        write(&signer.join("signer.toml"), &signer_toml(&none, 0, place, folder)?)?;
        let mut words = vec!["signer", "--config", "signer.toml", "provision", "--create-secrets"];
        if place.keys == Keys::Token {
            make(&signer.join("tokens"))?;
            let tokens = std::path::absolute(signer.join("tokens")).map_err(Failure::io("finding the tokens"))?;
            write(&signer.join(CONF), &softhsm_conf(&tokens))?;
            words.extend(["--so-pin-file", &so_pin]);
        }
        let printed = run(stele, &words, &signer)?;
        // From here on it is the machine's: its tokens are where its state is.
        if (place.home, place.keys) == (Home::Image, Keys::Token) {
            write(&signer.join(CONF), &softhsm_conf(Path::new("/var/lib/stele/signer/tokens")))?;
        }
        let mut keys: serde_json::Value =
            serde_json::from_str(&printed).map_err(|error| Failure::content("stele signer provision", error))?;
        let address = &place.address;
        keys["name"] = place.name.clone().into();
        for (key, port) in ["peer_address", "client_address", "rpc_address"].iter().zip(place.ports) {
            keys[*key] = format!("{address}:{port}").into();
        }
        write(&validators.join(format!("{}.json", place.name)), &keys.to_string())?;
    }
    let folder = validators.display().to_string();
    let genesis = scratch.join("genesis.toml").display().to_string();
    let mut words = vec!["genesis", "--name", "image", "--validators", &folder, "--out", &genesis];
    words.extend(accounts.iter().flat_map(|account| ["--account", account]));
    run(stele, &words, scratch)?;
    let told = run(stele, &["genesis", "--check", &genesis], scratch)?;
    let chain = told.split('"').find(|word| word.starts_with("sha256:"));
    let chain = chain.ok_or_else(|| Failure::content("stele genesis --check", "it told no chain"))?;
    let text = std::fs::read_to_string(&genesis).map_err(Failure::io("reading the genesis"))?;
    let mut sorted: Vec<&(Place, &Path)> = places.iter().collect();
    sorted.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    for (author, (place, folder)) in sorted.into_iter().enumerate() {
        let socket = socket(place, folder)?;
        write(&folder.join("signer/signer.toml"), &signer_toml(chain, author, place, folder)?)?;
        write(&folder.join("node/genesis.toml"), &text)?;
        let node = format!(
            "genesis = \"genesis.toml\"\nvalidator = \"{}\"\nshards = 1\n[signer]\nsocket = \"{socket}\"\n\
             [verify]\nthreads = 1\ngpu = \"forbid\"\n[log]\nsegment_bytes = 16777216\n",
            place.name
        );
        write(&folder.join("node/node.toml"), &node)?;
    }
    Ok(())
}

/// SoftHSM2's configuration: by this name it is looked for beside `signer.toml`.
pub const CONF: &str = "softhsm2.conf";
/// The module, on a Debian host and in the image alike.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

fn softhsm_conf(tokens: &Path) -> String {
    let tokens = tokens.display();
    format!(
        "directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\nlibrary.reset_on_fork = true\n"
    )
}

fn socket(place: &Place, folder: &Path) -> Result<String, Failure> {
    match place.home {
        Home::Image => Ok("/run/stele/signer.sock".to_owned()),
        Home::Host => {
            let socket = std::path::absolute(folder.join("signer.sock")).map_err(Failure::io("finding a folder"))?;
            Ok(socket.display().to_string())
        }
    }
}

/// The user who runs the node.
fn owner(place: &Place, folder: &Path) -> Result<u32, Failure> {
    match place.home {
        Home::Image => Ok(900),
        Home::Host => Ok(std::fs::metadata(folder).map_err(Failure::io("looking at a folder"))?.uid()),
    }
}

fn signer_toml(chain: &str, author: usize, place: &Place, folder: &Path) -> Result<String, Failure> {
    let (socket, owner) = (socket(place, folder)?, owner(place, folder)?);
    let store = match place.keys {
        Keys::Token => {
            format!("[store.pkcs11]\nmodule = \"{MODULE}\"\ntoken_label = \"stele\"\npin_file = \"pin\"\n")
        }
        Keys::File => "[store.keystore]\npath = \"keys.stele\"\npassphrase_file = \"passphrase\"\n".to_owned(),
    };
    Ok(format!(
        "chain = \"{chain}\"\nauthor = {author}\nepoch = 1\nguard = \"guard\"\nsocket = \"{socket}\"\n\
         [attestation]\n[process]\nallow_uids = [{owner}]\n{store}"
    ))
}

fn make(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(Failure::io(format!("making {}", folder.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(Failure::io(format!("writing {}", path.display())))
}

/// Runs `stele` to its end, in a folder; what it printed.
pub fn run(stele: &Path, arguments: &[&str], folder: &Path) -> Result<String, Failure> {
    let stele = std::path::absolute(stele).map_err(Failure::io("finding stele"))?;
    let mut command = Command::new(&stele);
    command.args(arguments).current_dir(folder).env("SOFTHSM2_CONF", folder.join(CONF));
    let output = command.output();
    let output = output.map_err(Failure::io(format!("starting {}", stele.display())))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::content(format!("stele {}", arguments.join(" ")), words));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
