//! Random values of contracts, and the encoding of calls, written a second time.

use super::Random;
use types::{
    Access, Call, ChainId, Encode, Grant, GrantId, LedgerEvent, Object, ObjectId, ObjectRights, PublicKey, SecretKey,
    StateKey, Step, TimestampMs, Transaction, TransactionBody,
};

impl Random {
    pub fn state_key(&mut self) -> StateKey {
        match self.below(3) {
            0 => self.address().into(),
            1 => ObjectId::from_bytes(self.array()).into(),
            _ => GrantId::from_bytes(self.array()).into(),
        }
    }

    fn object_rights(&mut self) -> ObjectRights {
        ObjectRights { transferable: self.below(2) == 1, divisible: self.below(2) == 1 }
    }

    pub fn object(&mut self) -> Object {
        Object {
            owner: self.address(),
            issuer: self.address(),
            asset: self.digest(),
            content: self.digest(),
            quantity: self.amount(),
            rights: self.object_rights(),
        }
    }

    pub fn grant(&mut self) -> Grant {
        Grant {
            grantor: self.address(),
            grantee: self.address(),
            resource: self.digest(),
            rights: self.u64() as u32,
            expires: TimestampMs(self.number()),
            entries: self.number(),
            audit: self.digest(),
        }
    }

    pub fn event(&mut self) -> LedgerEvent {
        let (object, other) = (ObjectId::from_bytes(self.array()), ObjectId::from_bytes(self.array()));
        let (from, to, grant) = (self.address(), self.address(), GrantId::from_bytes(self.array()));
        let (quantity, rights, digest) = (self.amount(), self.u64() as u32, self.digest());
        match self.below(9) {
            0 => LedgerEvent::Paid { from, to, amount: quantity },
            1 => {
                let (asset, content) = (digest, self.digest());
                LedgerEvent::Created { object, asset, issuer: from, owner: to, quantity, content }
            }
            2 => LedgerEvent::Transferred { object, from, to, quantity },
            3 => LedgerEvent::Split { object, part: other, quantity, left: self.amount() },
            4 => LedgerEvent::Merged { object, into: other, quantity },
            5 => LedgerEvent::Burned { object, owner: from, quantity },
            6 => {
                let expires = TimestampMs(self.number());
                LedgerEvent::Granted { grant, grantor: from, grantee: to, resource: digest, rights, expires }
            }
            7 => LedgerEvent::Revoked { grant, rights },
            _ => LedgerEvent::Exercised { grant, rights, purpose: digest },
        }
    }

    pub fn step(&mut self) -> Step {
        let (object, into) = (ObjectId::from_bytes(self.array()), ObjectId::from_bytes(self.array()));
        let (from, to, resource) = (self.address(), self.address(), self.digest());
        let (quantity, salt, rights) = (self.amount(), self.number(), self.u64() as u32);
        match self.below(9) {
            0 => Step::Pay { from, to, amount: quantity },
            1 => {
                let (rights, content) = (self.object_rights(), resource);
                Step::Create { issuer: from, salt, owner: to, quantity, rights, content }
            }
            2 => Step::Transfer { object, to },
            3 => Step::Split { object, salt, quantity },
            4 => Step::Merge { object, into },
            5 => Step::Burn { object },
            6 => {
                let expires = TimestampMs(self.number());
                Step::Grant { grantor: from, grantee: to, resource, rights, expires }
            }
            7 => Step::Revoke { grantor: from, grantee: to, resource },
            _ => Step::Exercise { grantee: to, grantor: from, resource, rights, purpose: self.digest() },
        }
    }

    /// A transaction with steps, declared keys and up to eight parties, signed by all of them.
    pub fn call(&mut self, chain: &ChainId) -> Transaction {
        let mut keys: Vec<SecretKey> = (0..1 + self.below(8)).map(|_| self.secret()).collect();
        let mut cosigners: Vec<PublicKey> = keys[1..].iter().map(SecretKey::public_key).collect();
        cosigners.sort_by_key(PublicKey::address);
        let mut access: Vec<_> =
            self.list(16, |random| Access { key: random.state_key(), write: random.below(2) == 1 });
        access.sort_by_key(|access| access.key);
        let (steps, length) = (1 + self.below(8), self.below(120));
        let steps = (0..steps).map(|_| self.step()).collect();
        let body = TransactionBody::Call(Box::new(Call { cosigners, access, steps, memo: self.bytes(length).into() }));
        let sender = keys.remove(0);
        let keys: Vec<&SecretKey> = [&sender].into_iter().chain(&keys).collect();
        Transaction::sign_together(chain, &keys, self.number(), self.number(), body).unwrap()
    }
}

/// The encoding of a call, written a second time.
pub fn transcribe_call(transaction: &Transaction, chain: &ChainId) -> Vec<u8> {
    let TransactionBody::Call(call) = transaction.body() else { panic!("no call") };
    let mut raw = vec![2];
    chain.encode(&mut raw);
    raw.extend_from_slice(&transaction.valid_until().0.to_le_bytes());
    raw.extend_from_slice(&transaction.nonce().to_le_bytes());
    transaction.key().encode(&mut raw);
    raw.push(4);
    let count = |raw: &mut Vec<u8>, count: usize| raw.extend_from_slice(&(count as u32).to_le_bytes());
    count(&mut raw, call.cosigners.len());
    call.cosigners.iter().for_each(|key| key.encode(&mut raw));
    count(&mut raw, call.access.len());
    for Access { key, write } in &call.access {
        let domain = match key {
            StateKey::Account(_) => 1,
            StateKey::Object(_) => 2,
            StateKey::Grant(_) => 3,
        };
        raw.extend_from_slice(&[u8::from(*write), domain]);
        raw.extend_from_slice(key.as_bytes());
    }
    count(&mut raw, call.steps.len());
    call.steps.iter().for_each(|step| transcribe_step(step, &mut raw));
    count(&mut raw, call.memo.len());
    raw.extend_from_slice(&call.memo);
    transaction.claims().for_each(|(_, signature)| signature.encode(&mut raw));
    raw
}

fn transcribe_step(step: &Step, raw: &mut Vec<u8>) {
    match step {
        Step::Pay { from, to, amount } => {
            raw.push(1);
            raw.extend([from.to_bytes(), to.to_bytes(), amount.to_bytes()].concat());
        }
        Step::Create { issuer, salt, owner, quantity, rights, content } => {
            raw.push(2);
            raw.extend([issuer.to_bytes(), salt.to_bytes(), owner.to_bytes(), quantity.to_bytes()].concat());
            raw.push(u8::from(rights.transferable) + 2 * u8::from(rights.divisible));
            content.encode(raw);
        }
        Step::Transfer { object, to } => {
            raw.push(3);
            raw.extend([object.to_bytes(), to.to_bytes()].concat());
        }
        Step::Split { object, salt, quantity } => {
            raw.push(4);
            raw.extend([object.to_bytes(), salt.to_bytes(), quantity.to_bytes()].concat());
        }
        Step::Merge { object, into } => {
            raw.push(5);
            raw.extend([object.to_bytes(), into.to_bytes()].concat());
        }
        Step::Burn { object } => {
            raw.push(6);
            raw.extend_from_slice(object.as_bytes());
        }
        Step::Grant { grantor, grantee, resource, rights, expires } => {
            raw.push(7);
            raw.extend([grantor.to_bytes(), grantee.to_bytes(), resource.to_bytes()].concat());
            raw.extend([rights.to_bytes(), expires.to_bytes()].concat());
        }
        Step::Revoke { grantor, grantee, resource } => {
            raw.push(8);
            raw.extend([grantor.to_bytes(), grantee.to_bytes(), resource.to_bytes()].concat());
        }
        Step::Exercise { grantee, grantor, resource, rights, purpose } => {
            raw.push(9);
            raw.extend([grantee.to_bytes(), grantor.to_bytes(), resource.to_bytes()].concat());
            raw.extend([rights.to_bytes(), purpose.to_bytes()].concat());
        }
    }
}
