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
  // With 512 KiB to a piece and 1 MiB to a chunk: several blocks of a sum and several chunks of a message.
  large: 300_001,
  deathFailsAll: true,
});
