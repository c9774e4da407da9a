import { memoryNameResolve } from '../name-resolve/memory.js';
import { communicatorSuite } from '../testing/communicator-suite.js';
import { breakConnections, socketWorld } from '../testing/socket-world.js';

communicatorSuite('sockets', {
  async open(size, timeoutMs) {
    const comms = await socketWorld(size, { nameResolve: memoryNameResolve(), timeoutMs });
    return {
      comms,
      kill: (rank) => {
        breakConnections(comms[rank]!);
      },
    };
  },
  // With 1 MiB to a piece and to a chunk: several blocks of a sum and several chunks of a message.
  large: 600_001,
  deathFailsAll: true,
});
