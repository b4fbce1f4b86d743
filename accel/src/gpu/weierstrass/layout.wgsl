// A slot of the key table: 0 whether the key is valid, 8..16 Z of SM2 as big-endian words, then multiples of the key.
const KEY_Z = 8u;
const KEY_POINTS = 16u;
// Scratch of an item: scalars recoded, what x must be, flags.
const SCALAR_G = 0u;
const SCALAR_KEY = 9u;
const X_WANTED = 18u;
const FLAGS = 26u;
const FLAG_IN_RANGE = 1u;
// Whether x may also be X_WANTED + n, which is then below p.
const FLAG_SECOND_X = 2u;
