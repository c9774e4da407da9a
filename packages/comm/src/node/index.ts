/** Node-only part of @realhf/comm: communicators over sockets, names in a shared directory or in Redis. */
export * from './name-resolve-directory.js';
export * from './name-resolve-redis.js';
export { socketCommunicator, type SocketCommunicatorOptions } from './socket-communicator.js';
