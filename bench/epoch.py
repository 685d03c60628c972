"""An epoch of training: from pictures drawn in advance, RGB or grey, and on the fly, from files or from memory

A turn trains one epoch and answers with its seconds, split into parts. `load` is all that comes before the batch
transforms, moving to the device included; `transform` is all of them (for pictures: whole numbers to floats)."""
import tempfile, time

def pictures(n_in):
    def loaders(sounds, folders, **kwargs):
        from fastai.vision.all import ImageBlock, PILImage, PILImageBW, get_image_files
        return block_of(ImageBlock(PILImage if n_in == 3 else PILImageBW), get_image_files, folders[str(n_in)], **kwargs)
    return n_in, loaders

def sound(keep):
    def loaders(sounds, folders, **kwargs):
        from audio_tutorial.files import get_audio_files
        from audio_tutorial.learner import AudioBlock, in_memory
        dls = block_of(AudioBlock(), get_audio_files, sounds, **kwargs)
        return in_memory(dls) if keep else dls
    return 1, loaders

def block_of(block, get_items, path, batch, copies, marks):
    "Loaders of notes, each `copies` times; workers where there is a GPU, which are slower where there is none"
    import torch
    from audio_tutorial.folders import ParentSplitter
    from audio_tutorial.notes import family
    from fastai.vision.all import CategoryBlock, DataBlock
    return DataBlock(
        blocks=(block, CategoryBlock), splitter=ParentSplitter(), batch_tfms=marks,
        get_items=lambda path: list(get_items(path))*copies, get_y=lambda file: family(file.with_suffix(".wav")),
    ).dataloaders(path, bs=batch, num_workers=None if torch.cuda.is_available() else 0)

def contestant(n_in, loaders):
    def start(sounds, folders, batch, copies, arch):
        import torch
        from audio_tutorial.networks import create_network
        from fastai.vision.all import Callback, CancelValidException, ItemTransform, Learner, set_seed
        parts, last = {}, [None]

        def mark(part):
            "What has passed since the last mark belongs to `part`"
            if last[0] is None: return
            if torch.cuda.is_available(): torch.cuda.synchronize()
            now = time.perf_counter()
            parts[part] = parts.get(part, 0) + now - last[0]
            last[0] = now

        class MarkLoad(ItemTransform):
            order = -1000
            def encodes(self, b):
                mark("load")
                return b

        class MarkTransform(ItemTransform):
            order = 1000
            def encodes(self, b):
                mark("transform")
                return b

        class MarkStep(Callback):
            def before_train(self): last[0] = time.perf_counter()
            def before_batch(self): mark("rest")
            def after_loss(self): mark("forward")
            def after_step(self): mark("backward")
            def after_batch(self): mark("rest")
            def after_train(self):
                mark("rest")
                last[0] = None
            def before_validate(self): raise CancelValidException()

        set_seed(0)
        dls = loaders(sounds, folders, batch=batch, copies=copies, marks=[MarkLoad(), MarkTransform()])
        learn = Learner(dls, create_network(arch, dls.c, n_in), lr=1e-3, cbs=MarkStep(), path=tempfile.gettempdir())
        if torch.cuda.is_available(): learn.to_bf16()

        def turn():
            parts.clear()
            with learn.no_bar(), learn.no_logging(): learn.fit(1)
            return dict(parts, total=sum(parts.values()), clips=batch*len(dls.train))
        return turn
    return start

GIVEN_BACK = "on the fly, from files; freed memory given back" # see `turns.KEEP_MEMORY`
CONTESTANTS = {"pictures, RGB": contestant(*pictures(3)), "pictures, grey": contestant(*pictures(1)),
               "on the fly, from files": contestant(*sound(keep=False)),
               GIVEN_BACK: contestant(*sound(keep=False)),
               "on the fly, from memory": contestant(*sound(keep=True))}
