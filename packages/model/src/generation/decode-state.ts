/** The decode state that Ops.sample advances (see SampleArgs.state). */

/** u32 per row: step, finished, position, first cache row, end of cache rows. */
export const stateWidth = 5;
