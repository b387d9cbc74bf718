//! Keys in tokens that speak PKCS #11 (2.40 and later): HSMs, smart cards, SoftHSM.
//!
//! A thread of its own holds the session: the library is C and may hang, and sessions are for one thread at a time. What
//! fails ends the session; the next signature opens another, so that a token may be pulled out and plugged in again. A PIN
//! that was refused is never tried again: tokens lock themselves after a few.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use tokio::{sync::oneshot, time::timeout};

use super::{
    KeyError, SigningKey, der,
    public::{self, Public},
    secret, verified,
};
use crate::{config::KeyToken, digest::Digest, terminal::printable, tuf::key::Algorithm};

/// Signatures that may wait for the token.
const QUEUE: usize = 16;
/// Longest wait for a library to come to its end.
const GOODBYE: Duration = Duration::from_secs(2);
/// `secp256r1` as CKA_EC_PARAMS.
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// A key in a token.
pub struct TokenKey {
    name: String,
    public: Public,
    timeout: Duration,
    thread: Thread,
}

/// A message, and who waits for its signature.
struct Work {
    message: Vec<u8>,
    answer: oneshot::Sender<Result<Vec<u8>, KeyError>>,
}

impl TokenKey {
    /// Logs in and reads the public key.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] when the token is not there or does not answer, [`KeyError::Unusable`] for a wrong PIN,
    /// no such key or one that clients do not know, [`KeyError::Secret`] when there is no PIN.
    pub async fn open(name: String, token: &KeyToken) -> Result<Self, KeyError> {
        let what = format!("token `{}`", token.token);
        let pin = token
            .pin
            .as_ref()
            .map(|source| secret::read(source, &what))
            .transpose()?;
        let mut desk = Desk {
            name: name.clone(),
            token: token.clone(),
            pin: pin.map(|pin| AuthPin::new(pin.as_str().into())),
            library: None,
            open: None,
            refused: false,
        };
        let (work, queue) = sync_channel::<Work>(QUEUE);
        let (first, opened) = oneshot::channel();
        let (ends, ended) = sync_channel::<()>(0);
        let thread = thread::Builder::new().name("pkcs11".to_owned());
        let spawned = thread.spawn(move || {
            let public = desk.public();
            if first.send(public).is_ok() {
                desk.serve(&queue);
            }
            // In this order: who waits for the end waits for the library.
            drop(desk);
            drop(ends);
        });
        spawned.map_err(|error| KeyError::Sign(format!("no thread for a token: {error}")))?;
        let thread = Thread {
            work: Some(work),
            ended: Mutex::new(ended),
        };
        let public = match timeout(token.timeout, opened).await {
            Ok(Ok(public)) => public?,
            _ => return Err(silent(&name, token.timeout)),
        };
        Ok(Self {
            name,
            public,
            timeout: token.timeout,
            thread,
        })
    }
}

/// The thread of a token, which ends with this. It is waited for: where it unloads the library while the process ends, both
/// may hang.
struct Thread {
    work: Option<SyncSender<Work>>,
    /// Closed at its end.
    ended: Mutex<Receiver<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.work = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(GOODBYE);
    }
}

fn silent(name: &str, after: Duration) -> KeyError {
    KeyError::Unavailable {
        key: name.to_owned(),
        detail: format!("the token did not answer within {after:?}"),
    }
}

#[async_trait]
impl SigningKey for TokenKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn public_key(&self) -> &Public {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (answer, answered) = oneshot::channel();
        let work = Work {
            message: message.to_vec(),
            answer,
        };
        // Full only when the token hangs: those who waited have left, and the queue with them when it goes on.
        let queue = self.thread.work.as_ref();
        queue
            .and_then(|queue| queue.try_send(work).ok())
            .ok_or_else(|| silent(&self.name, self.timeout))?;
        match timeout(self.timeout, answered).await {
            Ok(Ok(signature)) => verified(&self.name, &self.public, message, signature?),
            _ => Err(silent(&self.name, self.timeout)),
        }
    }
}

/// The thread's side.
struct Desk {
    name: String,
    token: KeyToken,
    pin: Option<AuthPin>,
    library: Option<Pkcs11>,
    open: Option<Open>,
    /// The token refused the PIN.
    refused: bool,
}

/// A session with the key found.
struct Open {
    session: Session,
    key: ObjectHandle,
    public: Public,
}

impl Desk {
    fn serve(&mut self, queue: &Receiver<Work>) {
        while let Ok(work) = queue.recv() {
            if !work.answer.is_closed() {
                let _ = work.answer.send(self.sign(&work.message));
            }
        }
    }

    fn public(&mut self) -> Result<Public, KeyError> {
        Ok(self.opened()?.public.clone())
    }

    /// A session may have died since the last signature, hence a second try with a new one.
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let again = self.open.is_some();
        match self.sign_once(message) {
            Err(error) if again && error.transient() => self.sign_once(message),
            signed => signed,
        }
    }

    fn sign_once(&mut self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let Open { session, key, public } = self.opened()?;
        let digest = Digest::of(message);
        let signed = match public.algorithm() {
            Algorithm::Ed25519 => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
                session.sign(&pure, *key, message)
            }
            Algorithm::EcdsaP256 => session
                .sign(&Mechanism::Ecdsa, *key, digest.as_bytes())
                .and_then(|fixed| der::ecdsa_signature(&fixed).ok_or(Error::InvalidValue)),
            Algorithm::RsaPss => {
                let pss = PkcsPssParams {
                    hash_alg: MechanismType::SHA256,
                    mgf: PkcsMgfType::MGF1_SHA256,
                    s_len: 32.into(),
                };
                session.sign(&Mechanism::RsaPkcsPss(pss), *key, digest.as_bytes())
            }
        };
        signed.map_err(|error| {
            self.open = None;
            self.unavailable(error)
        })
    }

    fn opened(&mut self) -> Result<&Open, KeyError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        Ok(self.open.insert(open))
    }

    fn unavailable(&self, error: impl std::fmt::Display) -> KeyError {
        KeyError::Unavailable {
            key: self.name.clone(),
            detail: format!(
                "token `{}`: {}",
                printable(&self.token.token),
                printable(&error.to_string())
            ),
        }
    }

    fn unusable(&self, detail: impl std::fmt::Display, hint: &'static str) -> KeyError {
        KeyError::Unusable {
            key: self.name.clone(),
            detail: format!("token `{}` {detail}", printable(&self.token.token)),
            hint,
        }
    }

    fn wrong_pin(&self) -> KeyError {
        self.unusable(
            "refuses the PIN; it is not tried again, for tokens lock themselves",
            "set the right PIN and start again",
        )
    }

    fn library(&mut self) -> Result<Pkcs11, KeyError> {
        static INITIALISING: Mutex<()> = Mutex::new(());
        if let Some(library) = &self.library {
            return Ok(library.clone());
        }
        let module = &self.token.module;
        let library = Pkcs11::new(module).map_err(|error| KeyError::Unusable {
            key: self.name.clone(),
            detail: format!(
                "`{}` cannot be loaded: {}",
                module.display(),
                printable(&error.to_string())
            ),
            hint: "`module` is the shared library of the token's maker, for this machine's architecture",
        })?;
        let _one = INITIALISING.lock().unwrap_or_else(PoisonError::into_inner);
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another key of this process came first.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(self.unavailable(error)),
        }
        Ok(self.library.insert(library).clone())
    }

    fn connect(&mut self) -> Result<Open, KeyError> {
        if self.refused {
            return Err(self.wrong_pin());
        }
        let library = self.library()?;
        let failed = |error: Error| self.unavailable(error);
        let mut labels = Vec::new();
        let mut found = None;
        for slot in library.get_slots_with_token().map_err(failed)? {
            // A token may go while it is looked at.
            let Ok(info) = library.get_token_info(slot) else {
                continue;
            };
            labels.push(format!("`{}`", printable(info.label())));
            if info.label() == self.token.token {
                found = Some((slot, info));
            }
        }
        let Some((slot, info)) = found else {
            labels.retain(|label| label != "``");
            return Err(self.unavailable(match labels.is_empty() {
                true => "it is not there, nor is any other".to_owned(),
                false => format!("it is not there, but {}", labels.join(", ")),
            }));
        };
        let session = library.open_ro_session(slot).map_err(failed)?;
        if info.login_required() {
            if self.pin.is_none() && !info.protected_authentication_path() {
                let hint = "give `pin_env`, `pin_file`, `pin_fd` or `pin_credential`";
                return Err(self.unusable("asks for a PIN, and none is configured", hint));
            }
            match session.login(UserType::User, self.pin.as_ref()) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(Error::Pkcs11(
                    RvError::PinIncorrect
                    | RvError::PinInvalid
                    | RvError::PinLenRange
                    | RvError::PinLocked
                    | RvError::PinExpired,
                    _,
                )) => {
                    self.refused = true;
                    return Err(self.wrong_pin());
                }
                Err(error) => return Err(self.unavailable(error)),
            }
        }
        let key = self.find(&session)?;
        let public = self.public_of(&session, key)?;
        Ok(Open { session, key, public })
    }

    fn find(&self, session: &Session) -> Result<ObjectHandle, KeyError> {
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        wanted.extend(
            self.token
                .label
                .as_ref()
                .map(|label| Attribute::Label(label.as_bytes().to_vec())),
        );
        wanted.extend(self.token.id.clone().map(Attribute::Id));
        let found = session.find_objects(&wanted).map_err(|error| self.unavailable(error))?;
        match found[..] {
            [key] => Ok(key),
            [] => Err(self.unusable(
                "holds no private key with this label or id",
                "`pkcs11-tool --login --list-objects` shows them",
            )),
            _ => Err(self.unusable(
                "holds several private keys with this label or id",
                "give `label` and `id`",
            )),
        }
    }

    /// The public half: RSA's stands in the private object, that of a curve in the public object of the same id.
    fn public_of(&self, session: &Session, key: ObjectHandle) -> Result<Public, KeyError> {
        let failed = |error: Error| self.unavailable(error);
        let read = |object, kinds: &[AttributeType]| session.get_attributes(object, kinds).map_err(failed);
        let odd = |why: &str| {
            let hint = "ed25519, ECDSA on P-256, or RSA of 2048 to 8192 bits";
            self.unusable(format_args!("holds a key that clients do not know: {why}"), hint)
        };
        let (mut kind, mut id, mut label) = (None, Vec::new(), Vec::new());
        for attribute in read(key, &[AttributeType::KeyType, AttributeType::Id, AttributeType::Label])? {
            match attribute {
                Attribute::KeyType(found) => kind = Some(found),
                Attribute::Id(found) => id = found,
                Attribute::Label(found) => label = found,
                _ => {}
            }
        }
        if kind == Some(KeyType::RSA) {
            let (mut modulus, mut exponent) = (Vec::new(), Vec::new());
            for attribute in read(key, &[AttributeType::Modulus, AttributeType::PublicExponent])? {
                match attribute {
                    Attribute::Modulus(found) => modulus = found,
                    Attribute::PublicExponent(found) => exponent = found,
                    _ => {}
                }
            }
            let der = der::two(&modulus, &exponent).ok_or_else(|| odd("its modulus is no number"))?;
            return Public::new(public::rsa(&der).map_err(|why| odd(&why))?);
        }
        let mut wanted = vec![Attribute::Class(ObjectClass::PUBLIC_KEY)];
        wanted.push(match id.is_empty() {
            true => Attribute::Label(label),
            false => Attribute::Id(id),
        });
        let found = session.find_objects(&wanted).map_err(failed)?;
        let Some(object) = found.first() else {
            let hint = "write the public key beside it, with the same id: `pkcs11-tool --write-object --type pubkey`";
            return Err(self.unusable("holds no public key beside the private one", hint));
        };
        let (mut curve, mut point) = (Vec::new(), Vec::new());
        for attribute in read(*object, &[AttributeType::EcParams, AttributeType::EcPoint])? {
            match attribute {
                Attribute::EcParams(found) => curve = found,
                Attribute::EcPoint(found) => point = found,
                _ => {}
            }
        }
        let point = der::unwrapped(&point);
        let key = match (kind, point.len()) {
            (Some(KeyType::EC), 65) if curve == P256 => public::ecdsa(point),
            (Some(KeyType::EC_EDWARDS), 32) => {
                let point = point.try_into().map_err(|_| odd("its point has another length"))?;
                public::ed25519(point)
            }
            (Some(KeyType::EC), _) => return Err(odd("it is on another curve than P-256")),
            _ => return Err(odd("it is of another type")),
        };
        Public::new(key)
    }
}
