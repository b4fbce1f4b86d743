#!/usr/bin/env python3
"""Checks the transcript of a Stele key ceremony without any code of Stele: python3 verify_transcript.py TRANSCRIPT
Python 3.11, standard library only. Prints what `stele ceremony verify --json` prints; exits with 1 where anything is off.
README.md beside this file has the format and test vectors."""
import hashlib, ipaddress, json, pathlib, re, sys, tomllib, unicodedata
class Bad(Exception): pass
def need(condition, reason):
    if not condition: raise Bad(reason)
# ---- Ed25519 (RFC 8032) with the verdicts of ZIP-215: any encoding of a point, the cofactored equation, s below L -------
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
def ed_add(a, b):
    c, d = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    e, f = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    g, h, i, j = d - c, f - e, f + e, d + c
    return g * h % P, i * j % P, h * i % P, g * j % P
def mul(add, zero, k, a):
    r = zero
    for bit in bin(k)[2:]: r = add(add(r, r), a) if bit == "1" else add(r, r)
    return r
def ed_point(raw):
    n = int.from_bytes(raw, "little")
    y, sign = n % 2**255 % P, n >> 255
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u: x = x * pow(2, (P - 1) // 4, P) % P
    if v * x * x % P != u: return None
    x = P - x if x % 2 != sign else x
    return x % P, y, 1, x * y % P
ED_B = ed_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
def ed25519(key, message, sig):
    a, r, s = ed_point(key), ed_point(sig[:32]), int.from_bytes(sig[32:], "little")
    if a is None or r is None or s >= L: return False
    k = int.from_bytes(hashlib.sha512(sig[:32] + key + message).digest(), "little") % L
    minus, ed = lambda p: (P - p[0], p[1], p[2], P - p[3]), lambda k, p: mul(ed_add, (0, 1, 1, 0), k, p)
    left = ed(8, ed_add(ed(s, ED_B), minus(ed_add(r, ed(k, a)))))
    return left[0] % P == 0 and (left[1] - left[2]) % P == 0
# ---- ECDSA on P-256 with SHA-256 (FIPS 186-5), s in the lower half ------------------------------------------------------
Q = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
def ec_add(a, b):
    if a is None or b is None: return a or b
    if a[0] == b[0] and (a[1] + b[1]) % Q == 0: return None
    m = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, Q) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, Q)
    x = (m * m - a[0] - b[0]) % Q
    return x, (m * (a[0] - x) - a[1]) % Q
def p256(key, message, sig):
    x, r, s = int.from_bytes(key[1:], "big"), int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:], "big")
    y2 = (x**3 - 3 * x + B) % Q
    y = pow(y2, (Q + 1) // 4, Q)
    if key[0] not in (2, 3) or x >= Q or y * y % Q != y2 or not (0 < r < N and 0 < s <= (N - 1) // 2): return False
    y = Q - y if y % 2 != key[0] % 2 else y
    e, w = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N)
    point = ec_add(mul(ec_add, None, e * w % N, G), mul(ec_add, None, r * w % N, (x, y)))
    return point is not None and point[0] % N == r
ALGORITHMS = {"ed25519": (ed25519, 32), "ecdsa-p256": (p256, 33)}
def verified(key, message, signature):
    (alg, raw), (sig_alg, sig) = parts(key), parts(signature)
    return alg == sig_alg and len(raw) == ALGORITHMS[alg][1] and len(sig) == 64 and ALGORITHMS[alg][0](raw, message, sig)
def parts(text):
    found = re.fullmatch(r"(ed25519|ecdsa-p256):((?:[0-9a-f]{2})+)", text, re.A)
    need(found, "not an Ed25519 or P-256 key or signature")
    return found[1], bytes.fromhex(found[2])
def is_text(text, most): return 1 <= len(text.encode()) <= most and not any(unicodedata.category(c) == "Cc" for c in text)
def is_digest(text): return re.fullmatch(r"sha256:[0-9a-f]{64}", text)
def is_address(text):
    host, _, port = text.rpartition(":")
    ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    return re.fullmatch(r"0|[1-9][0-9]{0,4}", port) is not None and int(port) < 65536
FORMS = {
    "beacon": lambda a: is_text(a, 512) and len(a.encode()) >= 8, "address": is_address, "digest": is_digest,
    "number": lambda a: re.fullmatch(r"[1-9][0-9]{0,19}", a) and int(a) < 2**64, "maybe": lambda a: a == "none" or is_digest(a),
    "backup": lambda a: a in ("none", "vendor-clone", "wrap"), "16": lambda a: is_text(a, 16), "64": lambda a: is_text(a, 64),
    "256": lambda a: is_text(a, 256), "512": lambda a: is_text(a, 512)}
QUESTIONS = {  # of each kind of step: question and form
    "prove-possession": "beacon:beacon", "custody-drill": "beacon:beacon", "attest-key": "attestation:maybe",
    "observe": "initials:16", "record-hash": "digest:digest", "back-up-key": "method:backup evidence:maybe custodian:256",
    "register-validator": "name:64 stake:number peer_address:address client_address:address rpc_address:address",
    "rotate-key": "reason:512", "revoke-key": "reason:512", "destroy-key": "reason:512"}
OUTCOMES = dict(initialise="token", open="token", generate="key", find="key", probe="probes", sign="signature", destroy="destroyed")
PROBES = ["sensitive", "not-extractable", "always-sensitive", "never-extractable", "local", "private", "read-value",
          "make-extractable", "make-insensitive", "copy-extractable", "wrap"]
FIELDS = {
    "start": "format rehearsal nonce script_digest script program binary machine", "present": "role seat name key signature",
    "open": "", "begin": "step", "answer": "step question answer", "approval": "step seat signature", "request": "step operation",
    "result": "step outcome", "failure": "step reason", "resume": "binary machine", "document": "step file text", "done": "step",
    "exception": "step reason", "excepted": "step", "close": "done excepted", "sign": "seat signature",
    "quote": "tpm_key statement signature registers event_log", "none": "reason",
    "machine": "hostname kernel cpu machine_id_digest boot_id lockdown secure_boot", "probe": "probe observed held",
    "token": "label manufacturer model serial hardware firmware library module own_authentication"}
TYPES = {"format": int, "done": int, "excepted": int, "rehearsal": bool, "secure_boot": bool, "own_authentication": bool,
         "held": bool, "machine": dict, "operation": dict, "outcome": dict, "registers": dict}
def shaped(name, body):
    typed = all(type(body[f]) is TYPES.get(f, str) or ((name == "machine" or f == "event_log") and body[f] is None) for f in body)
    need(list(body) == FIELDS[name].split() and typed, f"not the fields of {name}")
    need(all(is_digest(body[f]) for f in ("binary", "module", "machine_id_digest") if body.get(f) is not None), "not a digest")
    if "machine" in body: shaped("machine", body["machine"])
# ---- A machine's TPM: quotes (TPM 2.0 Library part 2, 10.12), event logs (TCG PC Client Platform Firmware Profile 10) -----
TPM_KEY = bytes.fromhex("0023000b0005047200000010" "0018000b00030010")  # restricted, signs, made inside: P-256, ECDSA, SHA-256
sha256 = lambda *items: hashlib.sha256(b"".join(items)).digest()
class Bytes:
    def __init__(self, data): self.data = data
    def take(self, count):
        need(count <= len(self.data), "a part of the attestation is cut off")
        taken, self.data = self.data[:count], self.data[count:]
        return taken
    def number(self, width, order="little"): return int.from_bytes(self.take(width), order)
    def sized(self): return self.take(self.number(2, "big"))
    def integers(self):
        both = [self.sized() for _ in "xy"]
        need(max(map(len, both)) <= 32 and not self.data, "the attestation's key or signature has another length")
        return [int.from_bytes(each, "big") for each in both]
def unhex(text):
    return bytes.fromhex(text) if re.fullmatch(r"([0-9a-f]{2})*", text) else need(False, "not hexadecimal")
def quoted(said):
    key, statement, signature = (unhex(said[field]) for field in ("tpm_key", "statement", "signature"))
    need(all(re.fullmatch(r"0|[1-9][0-9]{0,2}", at, re.A) for at in said["registers"]), "not a register")
    registers = {int(at): unhex(value) for at, value in said["registers"].items()}
    need(list(registers) == sorted(registers) and max(registers, default=0) < 256, "the registers are not in order")
    need(key.startswith(TPM_KEY), "the attestation key is not one that signs what a TPM made, and nothing else")
    (x, y), scalars = Bytes(key[20:]).integers(), Bytes(signature)
    need(max(x, y) < Q and (y * y - x**3 + 3 * x - B) % Q == 0, "the attestation key is no point of the curve")
    need(scalars.take(4) == b"\0\x18\0\x0b", "the quote is signed in another way")
    signed = b"".join(min(n, N - n if i and n < N else n).to_bytes(32, "big") for i, n in enumerate(scalars.integers()))
    need(p256(bytes([2 + y % 2]) + x.to_bytes(32, "big"), statement, signed), "the signature over the quote is wrong")
    quote, name = Bytes(statement), b"\0\x0b" + sha256(key)
    need(quote.take(6) == b"\xffTCG\x80\x18", "what the TPM signed is not a quote")
    signer, qualifying, _ = quote.sized(), quote.sized(), quote.take(8)
    boot, _ = (name, quote.number(4, "big"), quote.number(4, "big")), quote.take(9)
    need(signer == b"\0\x0b" + sha256(b"\x40\0\0\x0b", name), "the quote names another key")
    need(all(at < 24 and len(value) == 32 for at, value in registers.items()), "not a register")
    selected = b"\0\0\0\1\0\x0b\3" + sum(1 << at for at in registers).to_bytes(3, "little")
    need(quote.data == selected + b"\0\x20" + sha256(*registers.values()), "the registers are not those that were signed")
    return qualifying, boot, registers
def replay(log):
    log, events, locality = Bytes(log), [], 0
    _, kind, _ = log.take(4), log.number(4), log.take(20)
    head = Bytes(log.take(log.number(4)))
    need(kind == 3 and head.take(16) == b"Spec ID Event03\0" and head.take(8), "not an event log")
    count = head.number(4)
    need(count <= 16, "not an event log")
    sizes = dict((head.number(2), head.number(2)) for _ in range(count))
    need(11 in sizes, "the event log has no digests of SHA-256")
    while log.data:
        register, kind, count = log.number(4), log.number(4), log.number(4)
        need(count <= 16, "the event log is damaged")
        digests = [(each, log.take(sizes.get(each, 1 << 40))) for each in (log.number(2) for _ in range(count))]
        ours, data = [digest for each, digest in digests if each == 11], log.take(log.number(4))
        need(all(len(digest) == 32 for digest in ours), "the event log is damaged")
        if kind == 3: locality = data[16] if len(data) == 17 and data[:16] == b"StartupLocality\0" else locality
        else: events.append((register, ours[-1])) if register < 24 and ours else need(False, "the event log is damaged")
    values = {}
    for at, digest in events: values[at] = sha256(values.get(at, bytes(31) + bytes([0 if at else locality])), digest)
    return values
def adds_up(log, registers):
    try: values = replay(log)
    except Bad: return False
    return all(values.get(at, bytes(32)) == value for at, value in registers.items())
def lets_through(policy, name, registers, log):
    one_of = lambda value, texts: value is not None and value.hex() in [text.lower() for text in texts]
    good = all(one_of(registers.get(int(at)), values) for at, values in policy["registers"].items()) and one_of(name, policy["tpm_keys"])
    return good and (not policy.get("event_log") or (log is not None and adds_up(log, registers)))
class Ceremony:
    """The rules, as a fold over entries. `due` is what comes next: its first item names the event."""
    def start(self, start):
        need(start["format"] in (1, 2), "transcript format is not known")
        need(re.fullmatch(r"[0-9a-f]{64}", start["nonce"]), "the nonce is not 32 bytes in hexadecimal")
        need(start["script_digest"] == "sha256:" + hashlib.sha256(start["script"].encode()).hexdigest(), "script digest")
        self.rehearsal, self.script_hash = start["rehearsal"], bytes.fromhex(start["script_digest"][7:])
        self.script = tomllib.loads(start["script"])
        self.roles = {role["id"]: role for role in self.script["roles"]}
        self.seats = [dict(seat, role=role["id"]) for role in self.script["roles"] for seat in role["officers"]]
        for names in (self.script["roles"], self.script["steps"], self.seats):
            need(len({thing["id"] for thing in names}) == len(names) > 0, "a name in the script is there twice")
        need(self.script["format"] == start["format"] and self.script["exceptions"], "not a script, or of another format")
        self.wanted, self.machines, self.standing, self.log = self.script.get("attestation"), [], "start", None
        need(self.wanted is None or start["format"] == 2, "a machine's attestation is of format 2")
        need(all(role["quorum"] > 0 for role in self.roles.values()), "a quorum of nobody")
        self.officers, self.keys, self.token, self.finished, self.root, self.signed = {}, {}, None, [], None, []
        self.phase, self.now = "gathering", None
    def digest(self, purpose, *items):
        domain = f"stele/{'rehearsal' if self.rehearsal else 'ceremony'}/{purpose}/1".encode()
        items = [item if isinstance(item, bytes) else item.encode() for item in items]
        return hashlib.sha256(bytes([len(domain)]) + domain + b"".join(len(i).to_bytes(4, "little") + i for i in items)).digest()
    def message(self, purpose, *items):
        return (b"stele-reh-1\0\0\0\x81" if self.rehearsal else b"stele-cer-1\0\0\0\x81") + self.digest(purpose, *items)
    def step(self): return self.script["steps"][len(self.finished)]
    def vote(self, purpose): return self.message(purpose, self.id, self.script_hash, self.step()["id"], self.head)
    def lacking(self, roles, signed, everybody=False):
        here = lambda role: [seat for seat, officer in self.officers.items() if officer["role"] == role]
        needed = lambda role: len(here(role)) if everybody else self.roles[role]["quorum"]
        short = [role for role in roles if len(set(here(role)) & set(signed)) < needed(role)]
        return [seat for role in short for seat in here(role) if seat not in signed]
    def due(self):
        if self.wanted is not None:
            if self.standing in ("start", "resume"): return "attestation", self.standing
            over = self.phase == "between" and len(self.finished) == len(self.script["steps"])
            if over and self.standing == "attested": return "attestation", "close"
        if self.phase == "gathering": return ("present or open",)
        if self.phase == "closed": return ("sign",) if set(self.officers) - set(self.signed) else ("nothing",)
        if self.phase == "between": return ("begin",) if len(self.finished) < len(self.script["steps"]) else ("close",)
        step, now = self.step(), self.now
        (kind, do), = step["do"].items()
        if now["exception"] is not None:
            seats = self.lacking(self.script["exceptions"], now["against"])
            return ("approval", seats, self.vote("exception")) if seats else ("excepted",)
        used = [do[name] for name in ("key", "consensus", "transport", "old", "new") if name in do]
        made = kind in ("generate-key", "find-key")
        if (made and self.token is None) or (not made and any(key not in self.keys for key in used)):
            return ("exception: the step needs what an excepted step did not give",)
        for question, form in [asked.split(":") for asked in QUESTIONS.get(kind, "").split()]:
            if question not in now["answers"]: return "answer", question, form
        seats = self.lacking(step.get("approve", []), now["for"], kind == "custody-drill")
        if seats: return "approval", seats, self.vote("approval")
        if now["pending"]: return "result or failure", now["pending"]
        operation = self.operation(step["id"], kind, do, now)
        if operation: return "request", operation
        document = self.document(step["id"], kind, do, now)
        return ("document", document) if document and not now["written"] else ("done",)
    def statement(self, step, kind, do, now):
        key, answers = lambda name: self.keys[do[name]]["public"], now["answers"]
        if kind == "rotate-key": return self.message("rotation", self.id, step, key("old"), key("new"))
        if kind == "revoke-key": return self.message("revocation", self.id, step, key("key"), answers["reason"])
        return self.message("possession", self.id, step, answers["beacon"], str(now["began"]), key("key"))
    def operation(self, step, kind, do, now):
        label = lambda name: self.keys[do[name]]["label"]
        sign = lambda *names: [{"sign": {"label": label(n), "message": self.statement(step, kind, do, now).hex()}} for n in names]
        wanted = [{kind.removesuffix("-token"): {"token": do["token"]}}] if kind in ("initialise-token", "open-token") else []
        if kind == "generate-key":
            key_id = self.digest("key-id", self.id, step)[:16].hex()
            wanted = [{"generate": {"label": do["label"], "id": key_id, "algorithm": do["algorithm"]}}]
        elif kind == "find-key": wanted = [{"find": {"label": do["label"]}}]
        elif kind in ("probe-key", "destroy-key"): wanted = [{kind.removesuffix("-key"): {"label": label("key")}}]
        elif kind in ("prove-possession", "revoke-key"): wanted = sign("key")
        elif kind == "rotate-key": wanted = sign("old", "new")
        return wanted[len(now["outcomes"])] if len(now["outcomes"]) < len(wanted) else None
    def document(self, step, kind, do, now):
        key, answers = lambda name: self.keys[do[name]]["public"], now["answers"]
        if kind == "register-validator":
            content = {"name": answers["name"], "consensus_key": key("consensus"), "transport_key": key("transport"),
                       "stake": int(answers["stake"]), **{n: answers[n] for n in answers if n.endswith("_address")}}
        elif kind in ("rotate-key", "revoke-key"):
            content = {"ceremony": self.id.hex(), "rehearsal": self.rehearsal, "reason": answers["reason"]}
            content |= {name + "_key" if name != "key" else name: key(name) for name in do}
            content["message"] = self.statement(step, kind, do, now).hex()
            signatures = ["old_signature", "new_signature"] if kind == "rotate-key" else ["signature"]
            content |= {name: outcome["signature"]["signature"] for name, outcome in zip(signatures, now["outcomes"])}
        else: return None
        return {"step": step, "file": step + ".json", "text": json.dumps(content, indent=2, ensure_ascii=False) + "\n"}
    def apply(self, name, body, time, head):
        due, now = self.due(), self.now
        wrong = f"{name} cannot come here; what is due is {due[0]}"
        need(due[0] != "nothing", "the ceremony is complete; nothing may follow")
        need(not now or name in ("resume", "attestation") or body.get("step") == self.step()["id"], wrong)
        if name in ("resume", "failure"):
            need(self.phase != "closed" and (name == "resume" or due[0] == "result or failure"), wrong)
            need(name == "resume" or is_text(body["reason"], 512), "the reason is no text")
            if now: now["pending"] = None
            if name == "resume": self.standing = "resume"
        elif name == "exception" and now and due[0] != "attestation":
            need(now["exception"] is None and now["pending"] is None and is_text(body["reason"], 512), wrong)
            now["exception"] = body["reason"]
        else:
            need(name in due[0].split(" or "), wrong)
            getattr(self, "on_" + name)(body, due, time, head)
    def on_present(self, body, *_):
        planned = [seat for seat in self.seats if (seat["id"], seat["role"]) == (body["seat"], body["role"])]
        need(planned and is_text(body["name"], 128), "there is no such seat, or the name is no text")
        need(not any(o[f] == body[f] for o in self.officers.values() for f in ("seat", "name", "key")), "an officer counts once")
        for seat, field in [(seat, field) for seat in self.seats for field in ("name", "key") if field in seat]:
            need((seat[field] == body[field]) == (seat["id"] == body["seat"]), f"the script gives that seat or {field} to another")
        said = [body[field] for field in ("role", "seat", "name", "key")]
        self.check(body, self.message("attendance", self.id, self.script_hash, *said), body["key"])
        self.officers[body["seat"]] = body
    def check(self, body, message, key):
        need(verified(key, message, body["signature"]), f"the signature of {body['seat']} is not over this, or not his")
    def on_attestation(self, body, due, *_):
        ((kind, said),), moment = need(set(body) in ({"quote"}, {"none"}), "neither a quote nor none") or body.items(), due[1]
        shaped(kind, said)
        machine = {"entry": self.number, "moment": moment, "tpm_key_name": None, "resets": None, "registers": {},
                   "event_log": None, "policy": None, "none": None}
        insists, boot = not self.rehearsal and self.wanted.get("required", True), None
        if kind == "none":
            need(not insists and is_text(said["reason"], 512), "the machine is not attested, and has to be")
            machine["none"] = said["reason"]
            if moment != "close": self.log = None
        else:
            qualifying, boot, registers = quoted(said)
            need(qualifying == self.digest("machine", self.id, self.script_hash, self.head), "the TPM's quote is not over this transcript up to here")
            wanted = self.wanted.get("registers", [0, 1, 2, 3, 4, 5, 6, 7, 11])
            need(list(registers) == wanted, "the quote is over other registers than the script wants")
            own = None if said["event_log"] is None else unhex(said["event_log"])
            if moment != "close": self.log = own
            if own is not None: machine["event_log"] = adds_up(own, registers)
            if "policy" in self.wanted:
                machine["policy"] = lets_through(self.wanted["policy"], boot[0], registers, self.log)
                need(machine["policy"] or self.rehearsal, "the script's policy does not let this machine through")
            machine |= {"tpm_key_name": boot[0].hex(), "resets": boot[1]}
            machine["registers"] = {str(at): value.hex() for at, value in registers.items()}
        need(moment != "close" or boot == self.boot, "the closing quote is of another machine, or of another start of it")
        self.boot, self.standing = boot, "whole" if moment == "close" else "attested"
        self.machines.append(machine)
    def on_open(self, *_):
        have = lambda role: sum(officer["role"] == role for officer in self.officers.values())
        need(all(have(name) >= role["quorum"] for name, role in self.roles.items()), "a role lacks its quorum")
        self.phase = "between"
    def on_begin(self, body, due, time, _):
        need(body["step"] == self.step()["id"], "another step is due")
        self.phase, self.now = "in", dict(began=time, answers={}, outcomes=[], pending=None, written=False, exception=None)
        self.now.update({"for": [], "against": []})
    def on_answer(self, body, due, *_):
        need(body["question"] == due[1] and FORMS[due[2]](body["answer"]), "not the answer to the open question")
        self.now["answers"][body["question"]] = body["answer"]
    def on_approval(self, body, due, *_):
        need(body["seat"] in due[1], "that officer is not asked, not present, or has signed already")
        self.check(body, due[2], self.officers[body["seat"]]["key"])
        self.now["for" if self.now["exception"] is None else "against"].append(body["seat"])
    def on_request(self, body, due, *_):
        need(body["operation"] == due[1], "the device is not asked for what the step needs")
        self.now["pending"] = body["operation"]
    def on_result(self, body, due, *_):
        ((asked, op),), ((_, do),), ((told, what),) = due[1].items(), self.step()["do"].items(), body["outcome"].items()
        need(told == OUTCOMES[asked], "not an answer to what was asked")
        if told == "token":
            shaped("token", what)
            need(what["label"] == op["token"], "another token")
            self.token = what
        elif told == "key":
            need(parts(what["public"])[0] in ([do["algorithm"]] if asked == "generate" else ALGORITHMS), "another algorithm")
            need(all(key["public"] != what["public"] for key in self.keys.values()), "this public key is known already")
            self.keys[do["key"]] = {"label": op["label"], "public": what["public"], "probed": False}
        elif told == "probes":
            for probe in what: shaped("probe", probe)
            need([p["probe"] for p in what if p["held"]] == PROBES == [p["probe"] for p in what], "a probe is missing, or got through")
            self.keys[do["key"]]["probed"] = True
        elif told == "signature":
            key = next(key for key in self.keys.values() if key["label"] == op["label"])
            need(verified(key["public"], bytes.fromhex(op["message"]), what["signature"]), "the key's signature does not verify")
        self.now.update(pending=None, outcomes=[*self.now["outcomes"], body["outcome"]])
    def on_document(self, body, due, *_):
        need(body == due[1], "not the document that follows from the entries before")
        self.now["written"] = True
    def on_done(self, body, *_):
        if {"destroyed": {}} in self.now["outcomes"]: del self.keys[self.step()["do"]["destroy-key"]["key"]]
        self.finished.append((body["step"], self.now["exception"]))
        self.phase, self.now = "between", None
    on_excepted = on_done
    def on_close(self, body, due, time, head):
        excepted = sum(reason is not None for _, reason in self.finished)
        need(list(body.values()) == [len(self.finished) - excepted, excepted], "the close counts other steps")
        self.phase, self.root = "closed", head
    def on_sign(self, body, *_):
        need(body["seat"] in self.officers and body["seat"] not in self.signed, "not present, or signed already")
        self.check(body, self.message("root", self.id, self.root), self.officers[body["seat"]]["key"])
        self.signed.append(body["seat"])
def verify(data):
    need(len(data) <= 16 << 20 and data.endswith(b"\n"), "the last line is torn, the transcript is empty or too long")
    ceremony, head, last = Ceremony(), bytes(32), 0
    for number, line in enumerate(data[:-1].split(b"\n")):
        try:
            frame = re.fullmatch(rb'\{"hash":"([0-9a-f]{64})","entry":(.*)\}', line, re.S)
            need(frame and len(line) < 1 << 20, "the line is not a hash and an entry")
            entry, text = json.loads(frame[2]), frame[2].decode()
            need(json.dumps(entry, separators=(",", ":"), ensure_ascii=False) == text, "the entry is not in its one form")
            ((name, body),), (n, time) = entry["event"].items(), (entry["n"], entry["time_ms"])
            need(list(entry) == ["n", "time_ms", "event"] and type(n) is type(time) is int, "not an entry")
            if name != "attestation": shaped(name, body)
            need((name == "start") == (number == 0), "a ceremony starts once, with the first entry")
            if number == 0: ceremony.start(body)
            hashed = ceremony.digest("entry", head, frame[2])
            need(hashed.hex().encode() == frame[1], "the hash does not follow: something was altered, removed or moved")
            need(n == number and last <= time < 2**64, "the number is wrong, or the clock went back")
            ceremony.number = number
            if number == 0: ceremony.id = hashed
            else: ceremony.apply(name, body, time, hashed)
            ceremony.head, head, last = hashed, hashed, time
        except Exception as error:
            raise Bad(f"entry {number}: {error if isinstance(error, Bad) else 'malformed: ' + repr(error)}")
    due = ceremony.due()[0]
    need(due == "nothing", f"after entry {number}: the ceremony is not complete: what is due is {due}")
    return ceremony
def report(ceremony):
    words = [line.split() for line in (pathlib.Path(__file__).parent / "words.txt").read_text().splitlines()]
    return {
        "valid": True, "steps": sum(reason is None for _, reason in ceremony.finished),
        "exceptions": [{"step": step, "reason": reason} for step, reason in ceremony.finished if reason is not None],
        "signers": [{field: o[field] for field in ("role", "seat", "name", "key")} for o in ceremony.officers.values()],
        "root": "sha256:" + ceremony.root.hex(),
        "root_words": " ".join(words[byte][1 + place % 2] for place, byte in enumerate(ceremony.root)),
        "rehearsal": ceremony.rehearsal, "script": ceremony.script["id"], "script_digest": "sha256:" + ceremony.script_hash.hex(),
        "keys": [{"name": name} | {field: key[field] for field in ("public", "probed")} for name, key in sorted(ceremony.keys.items())],
        "machines": ceremony.machines, "entry": None, "reason": None}
if __name__ == "__main__":
    try:
        print(json.dumps(report(verify(pathlib.Path(sys.argv[1]).read_bytes())), indent=2, ensure_ascii=False))
    except Bad as bad:
        sys.exit(print(json.dumps({"valid": False, "reason": str(bad)})) or 1)
