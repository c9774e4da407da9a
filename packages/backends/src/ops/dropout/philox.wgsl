// Philox2x32-10 (Salmon et al. 2011): two words of a counter under a key of one word.

// High and low words of a·b.
fn wide_product(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2u((a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u), a * b);
}

fn philox(counter: vec2u, key: u32) -> vec2u {
  var c = counter;
  var k = key;
  for (var i = 0u; i < 10u; i++) {
    let product = wide_product(0xD256D193u, c.x);
    c = vec2u(product.x ^ k ^ c.y, product.y);
    k += 0x9E3779B9u;
  }
  return c;
}

// 24 bits, uniform in [0, 1).
fn uniform_of(word: u32) -> f32 { return f32(word >> 8u) * 5.9604645e-8; }
