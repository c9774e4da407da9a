// Sums of tiles that lie wholly within out, n a multiple of 4: straight from out and to it, without a bias.
fn start(i: u32, j: u32, subgroup: u32, lane: u32, up: f32) -> Sum { return times(load_sum(i, j, lane), up); }

fn put(sum: Sum, i: u32, j: u32, subgroup: u32, lane: u32, down: f32) { store_sum(times(sum, down), i, j, lane); }
