# What PyTorch does on this GPU: cuBLAS products, SDPA (flash) attention, a 1.1B llama. python3 peer.py OUT.json [--generate] [--models-only]
import torch, json, sys, time
import torch.nn.functional as F
from torch.nn.attention import sdpa_kernel, SDPBackend
dev='cuda'; torch.manual_seed(0); res={'device':torch.cuda.get_device_name(),'torch':torch.__version__,'matmul':{},'attention':{}}
def timed(f,reps=10):
    for _ in range(3): f()
    torch.cuda.synchronize(); r=[]
    for _ in range(5):
        a=torch.cuda.Event(enable_timing=True); b=torch.cuda.Event(enable_timing=True); a.record()
        for _ in range(reps): f()
        b.record(); torch.cuda.synchronize(); r.append(a.elapsed_time(b)/reps/1e3)
    return sorted(r)[2]
x=torch.randn(4096,4096,device=dev,dtype=torch.float16); t=time.time()
while time.time()-t<1.5: x@x; torch.cuda.synchronize()
shapes=[(4096,4096,4096),(4096,2048,2048),(4096,2560,2048),(4096,11264,2048),(4096,2048,5632),(4096,32000,2048),(4096,12288,4096),(4096,22016,4096),(4096,4096,11008),(64,2048,2048),(64,11264,2048),(64,2048,5632),(64,32000,2048)]
whole='--models-only' in sys.argv
for m,n,k in () if whole else shapes:
    for lay in ('NT','NN','TN') if m>64 else ('NT',):
        for dt,name in ((torch.float16,'f16'),(torch.float32,'f32')):
            if dt==torch.float32 and (m,n,k)!=(4096,4096,4096): continue
            # NT: x[m,k] W[n,k]; NN: dY[m,n] W[n,k] -> [m,k]; TN: dY[m,n]^T x[m,k] -> [n,k]
            X=torch.randn(m,k,device=dev,dtype=dt); W=torch.randn(n,k,device=dev,dtype=dt); Y=torch.randn(m,n,device=dev,dtype=dt)
            f={'NT':lambda:X@W.t(),'NN':lambda:Y@W,'TN':lambda:Y.t()@X}[lay]
            s=timed(f,10); res['matmul'][f'{name} {lay} {m}x{n}x{k}']=2*m*n*k/s/1e12; del X,W,Y
for seqs,L in () if whole else ((32,512),(4,4096)):
    for H,G,D in ((32,4,64),(32,32,128)):
        q=torch.randn(seqs,H,L,D,device=dev,dtype=torch.bfloat16,requires_grad=True); k=torch.randn(seqs,G,L,D,device=dev,dtype=torch.bfloat16,requires_grad=True); v=torch.randn(seqs,G,L,D,device=dev,dtype=torch.bfloat16,requires_grad=True); g=torch.randn_like(q)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            fwd=lambda: F.scaled_dot_product_attention(q,k,v,is_causal=True,enable_gqa=(G!=H))
            try:
                s=timed(fwd); o=fwd(); b=timed(lambda: torch.autograd.grad(o,(q,k,v),g,retain_graph=True))
                pairs=seqs*H*L*(L+1)/2
                res['attention'][f'{seqs}x{L} {H}/{G} {D}']={'fwd_ms':s*1e3,'bwd_ms':b*1e3,'fwd_tflops':4*pairs*D/s/1e12,'bwd_tflops':14*pairs*D/b/1e12}
            except Exception as e: res['attention'][f'{seqs}x{L} {H}/{G} {D}']={'error':str(e)[:200]}
        del q,k,v,g
a=torch.empty(1<<28,device=dev); b=torch.empty_like(a); s=timed(lambda: b.copy_(a)); res['copy_gb_s']=2*a.numel()*4/s/1e9
# Whole models: transformers' llama of TinyLlama-1.1B's shape, bf16, SDPA.
from transformers import LlamaConfig, AutoModelForCausalLM
import transformers
res['transformers']=transformers.__version__; res['model']={}
cfg=LlamaConfig(vocab_size=32000,hidden_size=2048,intermediate_size=5632,num_hidden_layers=22,num_attention_heads=32,num_key_value_heads=4,max_position_embeddings=2048,tie_word_embeddings=False,bos_token_id=1,eos_token_id=2)
cfg._attn_implementation='sdpa'
def made(c):
    with torch.device(dev): return AutoModelForCausalLM.from_config(c,dtype=torch.bfloat16)
def tell(): print(json.dumps(res['model']),flush=True)
m=made(cfg); m.eval()
ids=torch.randint(3,32000,(64,256),device=dev); full=torch.randint(3,32000,(8,512),device=dev)
def wall(f,reps):
    f(); torch.cuda.synchronize(); t=time.perf_counter()
    for _ in range(reps): f()
    torch.cuda.synchronize(); return (time.perf_counter()-t)/reps
with torch.no_grad():
    def inf():
        for _ in range(8): m(full,use_cache=False)
    res['model']['inference']=64*512/wall(inf,2); tell()
    if '--generate' in sys.argv:
        res['model']['generate']=64*256/wall(lambda: m.generate(ids,attention_mask=torch.ones_like(ids),do_sample=True,temperature=1.0,top_p=1.0,top_k=0,min_new_tokens=256,max_new_tokens=256,pad_token_id=0),1)
m.train(); opt=torch.optim.AdamW(m.parameters(),lr=1e-5,fused=True)
def step():
    for _ in range(2):
        out=m(full,labels=full,use_cache=False); (out.loss/2).backward()
    torch.nn.utils.clip_grad_norm_(m.parameters(),1.0); opt.step(); opt.zero_grad(set_to_none=True)
res['model']['train']=2*8*512/wall(step,4); tell()
m.gradient_checkpointing_enable(); res['model']['train, checkpointing']=2*8*512/wall(step,3); tell()
del m,opt; torch.cuda.empty_cache()
from transformers import GPT2Config
g=made(GPT2Config(n_embd=1024,n_layer=24,n_head=16,resid_pdrop=0,embd_pdrop=0,attn_pdrop=0)); g.train(); go=torch.optim.AdamW(g.parameters(),lr=1e-5,fused=True)
for b in (1,16):
    t=torch.randint(3,50000,(b,512),device=dev)
    def gstep():
        g(t,labels=t,use_cache=False).loss.backward(); torch.nn.utils.clip_grad_norm_(g.parameters(),1.0); go.step(); go.zero_grad(set_to_none=True)
    res['model'][f'gpt2-medium train {b}']=b*512/wall(gstep,10)
json.dump(res,open(sys.argv[1],'w'),indent=1); tell()
