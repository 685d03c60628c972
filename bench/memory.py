"Memory that a batch needs while its mel power is made, beyond the batch itself (Linux only)"
import re
from pathlib import Path

from bench import transform

def status(key): return int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1])/1000

def contestant(module):
    def start():
        import torch
        def turn(settings, batch, seconds):
            s = transform.MelSettings(**settings)
            m, x = module(s), torch.from_numpy(transform.make_clips(s, batch, seconds))
            with torch.inference_mode():
                m(x[:1])
                before = status("VmRSS")
                Path("/proc/self/clear_refs").write_text("5") # the peak starts anew
                m(x)
            return max(0.1, status("VmHWM") - before) # memory that lay ready is not seen: compare large batches
        return turn
    return start

CONTESTANTS = {"ours": contestant(transform.ours), "torchaudio": contestant(transform.torchaudio)}
