// A new key: x decompressed (SEC 1 §2.3.4), small multiples of the point and of its powers of two made affine, one thread a
// key.
//
// All of it is one straight-line program over registers, read from the constants (see program.rs): so the kernel holds one
// body of a multiplication, of a squaring and of a doubling, whatever the program's length, and compiles at once. Threads run the same
// instruction at the same time. A key that is invalid goes through the same motions and is marked.
fn load_constant(at: u32) -> Fe {
  return Fe(constants[at], constants[at + 1u], constants[at + 2u], constants[at + 3u], constants[at + 4u],
            constants[at + 5u], constants[at + 6u], constants[at + 7u], constants[at + 8u]);
}

fn load_key(at: u32) -> Fe {
  return Fe(key_table[at], key_table[at + 1u], key_table[at + 2u], key_table[at + 3u], key_table[at + 4u],
            key_table[at + 5u], key_table[at + 6u], key_table[at + 7u], key_table[at + 8u]);
}

fn store_key(at: u32, x: Fe) {
  key_table[at] = x[0]; key_table[at + 1u] = x[1]; key_table[at + 2u] = x[2];
  key_table[at + 3u] = x[3]; key_table[at + 4u] = x[4]; key_table[at + 5u] = x[5];
  key_table[at + 6u] = x[6]; key_table[at + 7u] = x[7]; key_table[at + 8u] = x[8];
}

@compute @workgroup_size(64)
fn prepare_keys(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item_index(id, groups);
  if (i >= params.new_keys) { return; }
  let new_key = i * 12u;
  var x: Words;
  for (var j = 0u; j < 8u; j++) { x[j] = new_keys[new_key + j]; }
  let parity = new_keys[new_key + 8u];
  let slot = new_keys[new_key + 9u] * KEY_WORDS;
  var valid = new_keys[new_key + 10u] == 1u && words_less(x, P);

  var registers: array<Fe, 64>;
  for (var r = 0u; r < GIVEN_REGISTERS; r++) { registers[r] = load_constant(r * 9u); }
  registers[REGISTER_X] = fe_from_words(x);
  var y: Words;
  for (var at = 0u; at < PROGRAM_WORDS; at++) {
    let instruction = u32(constants[PROGRAM + at]);
    let to = (instruction >> 3u) & 63u;
    let a = (instruction >> 9u) & 63u;
    let b = (instruction >> 15u) & 63u;
    let number = instruction >> 21u;
    switch (instruction & 7u) {
      case OP_MUL: {
        var t = registers[a];
        for (var k = 0u; k < number; k++) { t = p_sq(t); }
        registers[to] = p_mul(t, registers[b]);
      }
      case OP_ADD_MULTIPLE: {
        registers[to] = p_red(fe_add(registers[a], fe_scale(registers[b], i32(number) - 4)));
      }
      case OP_LOAD: {
        let from_slot = slot + KEY_POINTS + number * 18u;
        registers[to] = load_key(from_slot);
        registers[to + 1u] = load_key(from_slot + 9u);
      }
      case OP_STORE: {
        let to_slot = slot + KEY_POINTS + number * 18u;
        store_key(to_slot, registers[a]);
        store_key(to_slot + 9u, registers[a + 1u]);
      }
      case OP_DOUBLE: {
        var p = Point(registers[a], registers[a + 1u], registers[a + 2u]);
        for (var k = 0u; k < number; k++) { p = double(p); }
        registers[to] = p.x; registers[to + 1u] = p.y;
        // Its z is a product that may be doubled.
        registers[to + 2u] = p_red(p.z);
      }
      default: {
        // OP_CHOOSE_ROOT: register a is y² less x³ + ax + b, register b is y as a number. y = 0 is on no curve of odd order.
        valid = valid && p_is_zero(registers[a]);
        y = p_words(registers[b]);
        if ((y[0] & 1u) != parity) {
          y = words_sub(P, y).words;
          registers[REGISTER_Y] = fe_scale(registers[REGISTER_Y], -1);
        }
      }
    }
  }
  identify_key(slot, x, y);
  key_table[slot] = select(0, 1, valid);
}
