/** Activation functions that the kernels know. */
export type Activation = 'gelu' | 'gelu_tanh' | 'silu' | 'relu';
