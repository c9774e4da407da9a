import { loopbackCommunicators } from './loopback.js';
import { communicatorSuite } from './testing/communicator-suite.js';

communicatorSuite('loopback', {
  open(size, timeoutMs) {
    const comms = loopbackCommunicators(size, { timeoutMs });
    return Promise.resolve({
      comms,
      // Ranks of one process die together; the nearest thing is that one leaves.
      kill: (rank) => void comms[rank]!.close(),
    });
  },
  large: 5000,
  deathFailsAll: false,
});
