// Keys of the people who share this machine: in IndexedDB, each wrapped under its owner's
// passphrase. Neither a passphrase nor an unwrapped key is ever written anywhere.

import { readDesignation, thumbprint } from "/page/sign/certificate.js";
import { makeRequest } from "/page/sign/certificate_request.js";
import { ES256, P256 } from "/page/sign/signers.js";
import { utf8 } from "/page/core/encoding.js";

const [DATABASE, STORE] = ["fanal", "people"];
/** Rounds of PBKDF2-HMAC-SHA-256; OWASP's figure of 2023. Kept with each key, so that it can grow. */
const ROUNDS = 600_000;
/** Shortest passphrase, in characters. */
export const PASSPHRASE_LENGTH = 12;

/** The passphrase does not open the key. */
export class WrongPassphrase extends Error {}

/** The certificate does not belong to the key. */
export class OtherKey extends Error {}

/**
 * @typedef {Operator & {id: string, keyInfo: Bytes, chain: Bytes[], request: Bytes,
 *   wrapped: {salt: Bytes, iv: Bytes, rounds: number, key: Bytes}}} Person `id` is the key's
 *   thumbprint; `chain` (DER, leaf first) is empty until a designation is there; `request` (DER)
 *   is the certificate request
 */

/**
 * The people, by name.
 * @returns {Promise<Person[]>}
 */
export async function people() {
  /** @type {Person[]} */
  const found = await transaction("readonly", (store) => store.getAll());
  return found.sort((one, other) => one.name.localeCompare(other.name));
}

/**
 * Makes a key for a person, and the request for a designation of it.
 * @param {Operator} operator
 * @param {string} passphrase
 */
export async function addPerson({ name, number, unit }, passphrase) {
  const pair = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const keyInfo = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
  /** @param {Bytes} bytes */
  const sign = async (bytes) => new Uint8Array(await crypto.subtle.sign(ES256, pair.privateKey, bytes));
  const request = await makeRequest({ name, number, unit }, keyInfo, sign);
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const wrapping = await wrappingKey(passphrase, salt, ROUNDS);
  const id = await thumbprint(keyInfo);
  const key = await crypto.subtle.wrapKey("pkcs8", pair.privateKey, wrapping, {
    name: "AES-GCM",
    iv,
    additionalData: utf8(id),
  });
  /** @type {Person} */
  const person = {
    id,
    name,
    number,
    unit,
    keyInfo,
    wrapped: { salt, iv, rounds: ROUNDS, key: new Uint8Array(key) },
    chain: [],
    request,
  };
  await transaction("readwrite", (store) => store.put(person));
  return person;
}

/**
 * The person's key: it signs, and cannot be exported.
 * @param {Person} person
 * @param {string} passphrase
 * @throws {WrongPassphrase}
 */
export async function unlock(person, passphrase) {
  const { salt, iv, rounds, key } = person.wrapped;
  const wrapping = await wrappingKey(passphrase, salt, rounds);
  const cipher = { name: "AES-GCM", iv, additionalData: utf8(person.id) };
  try {
    return await crypto.subtle.unwrapKey("pkcs8", key, wrapping, cipher, P256, false, ["sign"]);
  } catch {
    throw new WrongPassphrase();
  }
}

/**
 * Keeps a designation with the key it is for, if it ends later than the one that is there.
 * @param {Person} person
 * @param {Bytes[]} chain
 * @throws {OtherKey} where it is for another key
 * @returns {Promise<Person>} the person as kept
 */
export async function designate(person, chain) {
  const designation = readDesignation(chain[0]);
  if ((await thumbprint(designation.keyInfo)) !== person.id) throw new OtherKey();
  const held = person.chain.length > 0 ? readDesignation(person.chain[0]).notAfter : 0;
  if (designation.notAfter <= held) return person;
  const { name, number, unit } = designation;
  const designated = { ...person, name, number, unit, chain };
  await transaction("readwrite", (store) => store.put(designated));
  return designated;
}

/**
 * Forgets a person and the key, for good.
 * @param {string} id
 */
export async function removePerson(id) {
  await transaction("readwrite", (store) => store.delete(id));
}

/**
 * @param {string} passphrase
 * @param {Bytes} salt
 * @param {number} iterations
 */
async function wrappingKey(passphrase, salt, iterations) {
  // The same characters, however the keyboard composes them.
  const secret = await crypto.subtle.importKey("raw", utf8(passphrase.normalize("NFKC")), "PBKDF2", false, [
    "deriveKey",
  ]);
  const derivation = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
  return crypto.subtle.deriveKey(derivation, secret, { name: "AES-GCM", length: 256 }, false, ["wrapKey", "unwrapKey"]);
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
    opening.onblocked = () => reject(new Error("another tab holds the key store"));
  });
}

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} act
 */
async function transaction(mode, act) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
      transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}
